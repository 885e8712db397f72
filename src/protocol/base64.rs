//! Keys in base64, as the meta dialect spells them.
//!
//! The standard alphabet with padding, read as leniently as memcached does: foreign characters are skipped, the
//! rest must come in fours, and what follows the first padding is not looked at. That leniency is why this is
//! not left to a library.

/// The longest decoded key: an encoded one is at most 250 bytes, and 248 are whole fours.
pub(super) const DECODED_SIZE_MAX: usize = 186;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The value of each character; 64 for the padding, 255 for those that are skipped.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut index = 0;
    while index < 64 {
        values[ALPHABET[index] as usize] = index as u8;
        index += 1;
    }
    values[b'=' as usize] = 64;
    values
};

/// Decodes `text` into `decoded` and returns the part that was filled, which is never empty.
pub(super) fn decode<'a>(text: &[u8], decoded: &'a mut [u8; DECODED_SIZE_MAX]) -> Option<&'a [u8]> {
    let characters = || {
        text.iter()
            .map(|&byte| VALUES[usize::from(byte)])
            .filter(|&value| value <= 64)
    };
    if characters().count() % 4 != 0 {
        return None;
    }
    let mut size = 0;
    let mut characters = characters();
    while let Some(first) = characters.next() {
        let four = [first, characters.next()?, characters.next()?, characters.next()?];
        let bits = four
            .iter()
            .fold(0u32, |bits, &value| bits << 6 | u32::from(value & 63));
        let [_, bytes @ ..] = bits.to_be_bytes();
        let kept = match four.iter().filter(|&&value| value == 64).count() {
            0 => 3,
            padding @ 1..=2 => 3 - padding,
            _ => return None,
        };
        decoded
            .get_mut(size..size + kept)?
            .copy_from_slice(&bytes[..kept]);
        size += kept;
        if kept < 3 {
            break;
        }
    }
    (size > 0).then_some(&decoded[..size])
}

/// Appends `bytes` in base64.
pub fn encode(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.chunks(3) {
        let byte = |index| chunk.get(index).copied().unwrap_or(0);
        let bits = u32::from_be_bytes([0, byte(0), byte(1), byte(2)]);
        for index in 0..4 {
            let value = bits >> (18 - 6 * index) & 63;
            out.push(if index <= chunk.len() {
                ALPHABET[value as usize]
            } else {
                b'='
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_it_encodes() {
        for size in 1..=DECODED_SIZE_MAX {
            let bytes: Vec<u8> = (0..size).map(|index| (index * 37 + size) as u8).collect();
            let mut text = Vec::new();
            encode(&mut text, &bytes);
            assert_eq!(decode(&text, &mut [0; DECODED_SIZE_MAX]), Some(&bytes[..]));
        }
        let mut text = Vec::new();
        encode(&mut text, b"foo\xff");
        assert_eq!(text, b"Zm9v/w==");
    }

    #[test]
    fn is_as_lenient_as_memcached() {
        let decode = |text: &[u8]| decode(text, &mut [0; DECODED_SIZE_MAX]).map(<[u8]>::to_vec);
        assert_eq!(
            decode(b"Zm!9-v"),
            Some(b"foo".to_vec()),
            "foreign characters are skipped"
        );
        assert_eq!(decode(b"Zg==Zm9v"), Some(b"f".to_vec()), "padding ends it");
        for bad in ["", "Zm9", "Zm9vZ", "!!!!", "====", "Z==="] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad}");
        }
    }
}
