//! Whole numbers as people write them: 100000, 100_000, 1e5.

use std::ops::RangeInclusive;

/// A whole number that a `T` holds.
///
/// # Errors
/// What would be right instead.
pub fn whole<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    T::try_from(read(text)?).map_err(|_| format!("it must be at most {}", u64::MAX >> (64 - 8 * size_of::<T>())))
}

/// A whole number in `range`.
pub fn whole_in<T: TryFrom<u64>>(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| match read(text)? {
        number if range.contains(&number) => whole(text),
        number => Err(format!("{number} is not in {}..={}", range.start(), range.end())),
    }
}

/// In integers alone: a float would round what is large.
fn read(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let no_number = || "a whole number is wanted, 0 or more, such as 100000".to_owned();
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_grouped = whole.split('_').all(|group| !group.is_empty());
    let digits = whole.replace('_', "") + fraction.trim_end_matches('0');
    let exponent = exponent.parse::<u32>().map_err(|_| no_number())?;
    let places = exponent.checked_sub(digits.len() as u32 - whole.replace('_', "").len() as u32).ok_or_else(no_number)?;
    if !is_grouped || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(no_number());
    }
    let too_large = || format!("it must be at most {}", u64::MAX);
    let ten = 10u64.checked_pow(places);
    digits.parse::<u64>().ok().zip(ten).and_then(|(digits, ten)| digits.checked_mul(ten)).ok_or_else(too_large)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_as_they_are_written() {
        for (text, number) in [("100000", 100_000), ("100_000", 100_000), ("1e5", 100_000), (" 64 ", 64), ("0", 0)] {
            assert_eq!(whole::<u32>(text), Ok(number), "{text}");
        }
        assert_eq!((whole::<u64>("1.50e3"), whole::<u64>("2.0")), (Ok(1500), Ok(2)));
        assert_eq!(whole::<u64>("18446744073709551615"), Ok(u64::MAX));
        for text in ["", "-5", "+5", "1.5", "1.25e1", "1e-3", "many", "_1", "1_", "1__0", ".5", "e5", "1e", "1e5e5", "NaN", "0x10"] {
            assert!(whole::<u64>(text).is_err_and(|says| says.contains("a whole number is wanted")), "{text}");
        }
        assert_eq!(whole::<u32>("4294967296"), Err("it must be at most 4294967295".to_owned()));
        for text in ["1e20", "1e99999999", "18446744073709551616"] {
            assert_eq!(whole::<u64>(text), Err("it must be at most 18446744073709551615".to_owned()), "{text}");
        }
        assert_eq!(whole_in::<u32>(1..=1000)("2e3"), Err("2000 is not in 1..=1000".to_owned()));
    }
}
