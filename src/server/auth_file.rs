//! The file of `-Y` or `-S`: a line `USER:PASSWORD` for each who may log in, as memcached has it.
//!
//! For SASL memcached lets more fields follow, so the password ends at any later colon there as well as at the line's end.
//!
//! A file whose first line is `#!rights` says more, in columns before the user:
//!
//! ```text
//! #!rights
//! # rights         keys          user:password
//! read,write       shop:,cart:   web:pass word: and all
//! read             *             monitor:secret
//! read,write,admin *             root:secret
//! ```
//!
//! No memcached file begins so: a line without a colon makes memcached refuse the file of `-Y`. So such a file keeps its
//! meaning here, and a memcached that is given one with rights grants nothing. (In that of `-S` it finds none of the users.)

use std::path::Path;
use std::sync::Arc;

use super::Refusal;
use crate::command::KEY_SIZE_MAX;
use crate::session::credentials::Credential;
use crate::session::rights::Rights;

/// Lines, at most. memcached reads eight and forgets the rest.
const ENTRIES_MAX: usize = 256;

/// Bytes of user and password, at most.
const LINE_SIZE_MAX: usize = 255;

/// The first line of a file with rights.
const WITH_RIGHTS: &[u8] = b"#!rights";

/// In memcached's words.
const MALFORMED: &str = "has a malformed entry. Should be 'user:password'";

/// Reads the file. What is refused says where it is wrong, and nothing of what is there.
pub(super) fn read(file: &Path, is_sasl: bool) -> Result<Vec<Credential>, Refusal> {
    let name = file.display();
    let refused = |message: String| Refusal { message, code: 1 };
    let text = std::fs::read(file).map_err(|error| {
        refused(format!(
            "Could not open authfile [{name}] for reading, error {error}"
        ))
    })?;
    entries(&text, is_sasl).map_err(|mistake| refused(format!("Authfile [{name}] {mistake}")))
}

fn entries(text: &[u8], is_sasl: bool) -> Result<Vec<Credential>, String> {
    let lines = text.strip_suffix(b"\n").unwrap_or(text);
    let mut lines = (1..)
        .zip(lines.split(|byte| *byte == b'\n').map(without_cr))
        .peekable();
    let has_rights = lines.next_if(|(_, line)| *line == WITH_RIGHTS).is_some();
    let mut entries = Vec::new();
    for (number, line) in lines.take_while(|_| !text.is_empty()) {
        let is_nothing = line.is_empty() || line.starts_with(b"#");
        let (rights, line) = match has_rights {
            false => (None, line),
            true if is_nothing => continue,
            true => {
                let split = with_rights(line);
                let (rights, line) = split.ok_or_else(|| malformed_rights(number))?;
                (Some(Arc::new(rights)), line)
            }
        };
        let colon = line.iter().position(|byte| *byte == b':');
        let Some(colon) = colon.filter(|_| line.len() <= LINE_SIZE_MAX) else {
            return Err(match has_rights {
                true => malformed_rights(number),
                false => MALFORMED.to_owned(),
            });
        };
        let (user, rest) = (&line[..colon], &line[colon + 1..]);
        let fields = (0..rest.len()).filter(|&at| is_sasl && rest[at] == b':');
        entries.extend(fields.chain([rest.len()]).map(|end| Credential {
            user: user.to_owned(),
            password: rest[..end].to_owned(),
            rights: rights.clone(),
        }));
        if entries.len() > ENTRIES_MAX {
            return Err(format!("has more than {ENTRIES_MAX} entries"));
        }
    }
    Ok(entries)
}

fn malformed_rights(line: usize) -> String {
    format!(
        "has a malformed entry in line {line}. Should be 'rights keys user:password': rights are of read, write and \
         admin, keys are * or prefixes, with commas between them and %2A, %2C, %25 for *, comma and %"
    )
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Cuts the two columns off a line: what they say, and what is left.
fn with_rights(line: &[u8]) -> Option<(Rights, &[u8])> {
    let (rights, rest) = column(line)?;
    let (keys, rest) = column(rest)?;
    let mut all = Rights::default();
    for right in rights.split(|byte| *byte == b',') {
        let right = match right {
            b"read" => &mut all.read,
            b"write" => &mut all.write,
            b"admin" => &mut all.admin,
            _ => return None,
        };
        *right = true;
    }
    if keys != b"*" {
        let prefixes = keys.split(|byte| *byte == b',').map(prefix);
        all.prefixes = Some(prefixes.collect::<Option<_>>()?);
    }
    Some((all, rest))
}

/// The first word of a line, and what stands behind the blanks that follow it.
fn column(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let end = line.iter().position(is_blank)?;
    let (word, rest) = line.split_at(end);
    let blanks = rest.iter().take_while(|byte| is_blank(byte)).count();
    Some((word, &rest[blanks..]))
}

/// A prefix, in which % and two hexadecimal digits stand for a byte. A bare `*` would look as if it meant something.
fn prefix(mut spelled: &[u8]) -> Option<Box<[u8]>> {
    let mut prefix = Vec::new();
    loop {
        spelled = match spelled {
            [] => break,
            [b'%', high, low, rest @ ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                prefix.push((digit(high)? << 4 | digit(low)?) as u8);
                rest
            }
            [b'%' | b'*', ..] => return None,
            [byte, rest @ ..] => {
                prefix.push(*byte);
                rest
            }
        };
    }
    (1..=KEY_SIZE_MAX).contains(&prefix.len()).then(|| prefix.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// User, password, and the rights in one word each.
    fn read(text: &str, is_sasl: bool) -> Result<Vec<String>, String> {
        let show = |entry: Credential| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let rights = entry.rights.map_or("everything".to_owned(), |rights| {
                let letter = |has, letter| if has { letter } else { "-" };
                let keys = rights.prefixes.as_ref().map_or("*".to_owned(), |prefixes| {
                    prefixes
                        .iter()
                        .map(|prefix| text(prefix))
                        .collect::<Vec<_>>()
                        .join("|")
                });
                let (read, write) = (letter(rights.read, "r"), letter(rights.write, "w"));
                format!("{read}{write}{} {keys}", letter(rights.admin, "a"))
            });
            format!("{} {} {rights}", text(&entry.user), text(&entry.password))
        };
        entries(text.as_bytes(), is_sasl).map(|entries| entries.into_iter().map(show).collect())
    }

    #[test]
    fn a_memcached_file_keeps_its_meaning() {
        for (text, want) in [
            ("", &[][..]),
            ("foo:bar", &["foo bar everything"]),
            (
                "foo:bar\r\nu:p w:x,y\n",
                &["foo bar everything", "u p w:x,y everything"],
            ),
            ("read * foo:bar\n", &["read * foo bar everything"]),
            (
                "#!rights:x\n#!rights y:z\n",
                &["#!rights x everything", "#!rights y z everything"],
            ),
            ("#a:b\n:\n", &["#a b everything", "  everything"]),
        ] {
            assert_eq!(want, read(text, false).expect(text), "{text:?}");
        }
        let sasl = read("u:p:more\n", true).expect("entries");
        assert_eq!(["u p everything", "u p:more everything"], sasl[..]);
        for text in ["foo", "foo:bar\n\n", "foo:bar\n#!rights\n", "# no comments\n"] {
            assert!(read(text, false).is_err(), "{text:?}");
        }
        let long = format!("u:{}", "p".repeat(254));
        assert!(read(&long[..255], false).is_ok() && read(&long, false).is_err());
        assert!(read(&"u:p\n".repeat(256), false).is_ok() && read(&"u:p\n".repeat(257), false).is_err());
    }

    #[test]
    fn columns_of_rights() {
        let text = "#!rights\r\n# a comment: ignored\n\nread,write shop:,a%2Cb,100%25%2a web:pass word: and all\n\
                    read\t  *  monitor:p\nread,write,admin * root:x\nadmin c op:\nwrite %20 s:\n";
        let want = [
            "web pass word: and all rw- shop:|a,b|100%*",
            "monitor p r-- *",
            "root x rwa *",
            "op  --a c",
            "s  -w-  ",
        ];
        assert_eq!(want, read(text, false).expect("entries")[..]);
        let sasl = read("#!rights\nread * u:p:more\n", true).expect("entries");
        assert_eq!(["u p r-- *", "u p:more r-- *"], sasl[..]);
        assert!(read("#!rights", false).expect("nobody").is_empty());
        for line in [
            "web:secret",
            "read web:secret",
            "read * secret",
            "reads * web:secret",
            "read, * web:secret",
            ",read * web:secret",
            "READ * web:secret",
            "read shop:* web:secret",
            "read *,a web:secret",
            "read a, web:secret",
            "read , web:secret",
            "read a% web:secret",
            "read a%2 web:secret",
            "read a%zz web:secret",
            " read * web:secret",
        ] {
            let mistake = read(&format!("#!rights\n# x\n{line}\n"), false).expect_err(line);
            assert!(
                mistake.contains("line 3") && !mistake.contains("secret"),
                "{mistake}"
            );
        }
    }
}
