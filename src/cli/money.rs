//! Money between minor units, which the ledger counts, and decimals, which people and other systems write.

use crate::ledger::{AMOUNT_MAX, Currency};

/// Digits after the point, as ISO 4217 lists them. `None` for a code that it does not list; 0 where it names no
/// minor unit, as for gold.
pub(super) fn exponent(currency: Currency) -> Option<usize> {
    let listed = iso_currency::Currency::from_code(currency.as_str())?;
    Some(usize::from(listed.exponent().unwrap_or(0)))
}

/// `14000` of EUR as `140.00 EUR`.
pub(super) fn format(amount: i64, currency: Currency) -> String {
    let digits = exponent(currency).unwrap_or(0);
    let sign = if amount < 0 { "-" } else { "" };
    let minor = format!("{:0>width$}", amount.unsigned_abs(), width = digits + 1);
    let (whole, fraction) = minor.split_at(minor.len() - digits);
    let point = if digits == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction} {currency}")
}

/// Why a decimal is no amount of minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAnAmount {
    #[error("is negative")]
    Negative,
    #[error("is more than a night may cost ({AMOUNT_MAX} minor units)")]
    TooLarge,
    #[error("is not a whole number of minor units, of which this currency has {0} digits")]
    Fraction(usize),
}

/// `140.5` with two digits after the point as `14050`. `text` is a JSON number.
pub(super) fn minor_units(text: &str, digits: usize) -> Result<i64, NotAnAmount> {
    if text.starts_with('-') && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) {
        return Err(NotAnAmount::Negative);
    }
    let text = text.trim_start_matches('-');
    let (mantissa, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    // The value is `significant × 10^scale` in minor units.
    let trailing = all.len() - all.trim_end_matches('0').len();
    let power: i64 = power.parse().map_err(|_| NotAnAmount::TooLarge)?;
    let scale = power - fraction.len() as i64 + trailing as i64 + digits as i64;
    if scale < 0 {
        return Err(NotAnAmount::Fraction(digits));
    }
    let factor = u32::try_from(scale).ok().and_then(|scale| 10i64.checked_pow(scale));
    let amount =
        significant.parse::<i64>().ok().zip(factor).and_then(|(value, factor)| value.checked_mul(factor));
    amount.filter(|amount| *amount <= AMOUNT_MAX).ok_or(NotAnAmount::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_become_minor_units_or_say_why_not() {
        for (text, digits, amount) in [
            ("109.0", 2, Ok(10_900)),
            ("109", 2, Ok(10_900)),
            ("0.1", 2, Ok(10)),
            ("0.29", 2, Ok(29)),
            ("1.15", 2, Ok(115)),
            ("0", 2, Ok(0)),
            ("0.000", 0, Ok(0)),
            ("-0.0", 2, Ok(0)),
            ("1e2", 2, Ok(10_000)),
            ("1.5E1", 0, Ok(15)),
            ("12000", 0, Ok(12_000)),
            ("12000.0", 0, Ok(12_000)),
            ("1.234", 3, Ok(1_234)),
            ("10000000000", 2, Ok(AMOUNT_MAX)),
            ("10000000000.01", 2, Err(NotAnAmount::TooLarge)),
            ("1e400", 2, Err(NotAnAmount::TooLarge)),
            ("99999999999999999999", 2, Err(NotAnAmount::TooLarge)),
            ("109.005", 2, Err(NotAnAmount::Fraction(2))),
            ("1e-3", 2, Err(NotAnAmount::Fraction(2))),
            ("0.5", 0, Err(NotAnAmount::Fraction(0))),
            ("-1", 2, Err(NotAnAmount::Negative)),
            ("-0.001", 2, Err(NotAnAmount::Negative)),
        ] {
            assert_eq!(minor_units(text, digits), amount, "{text} with {digits} digits");
        }
    }

    #[test]
    fn amounts_are_shown_with_the_currency_s_digits() {
        for (amount, currency, text) in [
            (14_000, "EUR", "140.00 EUR"),
            (5, "EUR", "0.05 EUR"),
            (0, "EUR", "0.00 EUR"),
            (-105, "EUR", "-1.05 EUR"),
            (12_000, "JPY", "12000 JPY"),
            (1_234, "KWD", "1.234 KWD"),
        ] {
            assert_eq!(format(amount, Currency::new(currency).unwrap()), text);
        }
    }
}
