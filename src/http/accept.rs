//! What media types a client takes, and how gladly (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header};

/// One media range of `Accept`.
pub struct Range {
    /// In lower case, without parameters.
    pub of: String,
    /// In thousandths.
    pub weight: u32,
}

impl Range {
    fn parse(text: &str) -> Option<Range> {
        let mut parts = text.split(';').map(|part| part.trim().to_ascii_lowercase());
        let of = parts.next().filter(|of| !of.is_empty())?;
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        Some(Range { of, weight: weight.map_or(1_000, |weight| (weight.clamp(0.0, 1.0) * 1_000.0) as u32) })
    }
}

/// All of the request's `Accept`, in its order.
pub fn ranges(headers: &HeaderMap) -> Vec<Range> {
    let lists = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).filter_map(Range::parse).collect()
}
