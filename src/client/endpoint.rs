//! Where a node is, as a user writes it.

use reqwest::Url;

/// A text that names no node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEndpoint {
    #[error("no endpoint is given; expected at least one like http://127.0.0.1:7101")]
    None,
    #[error("`{text}` is no endpoint ({reason}); expected one like http://127.0.0.1:7101")]
    Wrong { text: String, reason: String },
}

/// Reads `http://host:port`; a path, a query or another scheme would be dropped silently, so they are refused.
pub(super) fn endpoint(text: &str) -> Result<Url, NotAnEndpoint> {
    let wrong = |reason: String| NotAnEndpoint::Wrong { text: text.to_owned(), reason };
    let url = Url::parse(text.trim()).map_err(|error| wrong(error.to_string()))?;
    if url.scheme() != "http" {
        return Err(wrong(format!("the scheme is {}, and only http is spoken", url.scheme())));
    }
    if url.host().is_none() || url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has to be a scheme, a host and a port, and nothing more".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it must not hold a user name or a password".to_owned()));
    }
    Ok(url)
}
