//! The one string that lets a machine join: which token it is, its secret, and which CA to believe.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::pin::CaPin;

const PREFIX: &str = "littoral-join-v1";
const ID_DIGITS: usize = 16;
const SECRET_DIGITS: usize = 64;
/// The whole text has 164 characters; files end in line breaks.
pub const MAX_TOKEN_TEXT: usize = 1024;

/// Its text form is `littoral-join-v1.<id>.<secret>.<pin>`: 16, 64 and 64 hexadecimal digits. Only `Display` prints
/// the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Names the token in lists; no secret.
    pub id: String,
    /// 256 bits in hexadecimal. To be sent only to a server whose CA has the pin.
    pub secret: Zeroizing<String>,
    pub pin: CaPin,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadJoinToken {
    #[error("this is not a join token: it begins with {PREFIX}. and is printed by `littoral token create`")]
    Prefix,
    #[error("the join token has {0} parts where 4 were expected: was it copied whole?")]
    Parts(usize),
    #[error(
        "the {part} of the join token must have {expected} hexadecimal digits and has {found} characters: was it copied whole?"
    )]
    Part { part: &'static str, expected: usize, found: usize },
    #[error("the join token is longer than {MAX_TOKEN_TEXT} characters")]
    TooLong,
}

impl FromStr for JoinToken {
    type Err = BadJoinToken;

    /// White space around it is ignored. No error repeats any of the text.
    fn from_str(text: &str) -> Result<Self, BadJoinToken> {
        if text.len() > MAX_TOKEN_TEXT {
            return Err(BadJoinToken::TooLong);
        }
        let parts: Vec<&str> = text.trim().split('.').collect();
        if parts.first() != Some(&PREFIX) {
            return Err(BadJoinToken::Prefix);
        }
        let [_, id, secret, pin] = parts.as_slice() else { return Err(BadJoinToken::Parts(parts.len())) };
        check("id", id, ID_DIGITS)?;
        check("secret", secret, SECRET_DIGITS)?;
        check("pin", pin, SECRET_DIGITS)?;
        let wrong_pin = |_| BadJoinToken::Part { part: "pin", expected: SECRET_DIGITS, found: pin.len() };
        Ok(Self {
            id: (*id).to_owned(),
            secret: Zeroizing::new((*secret).to_owned()),
            pin: format!("sha256:{pin}").parse().map_err(wrong_pin)?,
        })
    }
}

fn check(part: &'static str, text: &str, expected: usize) -> Result<(), BadJoinToken> {
    let digits = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if text.len() == expected && digits {
        return Ok(());
    }
    Err(BadJoinToken::Part { part, expected, found: text.chars().count() })
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pin = self.pin.to_string();
        let pin = pin.trim_start_matches("sha256:");
        write!(f, "{PREFIX}.{}.{}.{pin}", self.id, self.secret.as_str())
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("id", &self.id).field("pin", &self.pin).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        format!("{PREFIX}.{}.{}.{}", "0a".repeat(8), "1b".repeat(32), "2c".repeat(32))
    }

    #[test]
    fn reads_back_what_it_prints_and_ignores_white_space_around() {
        let token: JoinToken = format!(" {}\n", text()).parse().unwrap();
        assert_eq!(token.id, "0a".repeat(8));
        assert_eq!(token.secret.as_str(), "1b".repeat(32));
        assert_eq!(token.to_string(), text());
    }

    #[test]
    fn every_cut_is_refused_and_no_error_or_debug_text_shows_the_secret() {
        let whole = text();
        for end in 0..whole.len() {
            let error = whole[..end].parse::<JoinToken>().unwrap_err();
            assert!(!error.to_string().contains("1b1b"), "{error}");
        }
        assert!(!format!("{:?}", whole.parse::<JoinToken>().unwrap()).contains("1b1b"));
    }

    #[test]
    fn says_what_is_wrong() {
        let parse = |text: &str| text.parse::<JoinToken>().unwrap_err();
        assert_eq!(parse("hello"), BadJoinToken::Prefix);
        assert_eq!(parse(&format!("{}.more", text())), BadJoinToken::Parts(5));
        assert_eq!(
            parse(&text().replace("0a0a", "0A0a")),
            BadJoinToken::Part { part: "id", expected: 16, found: 16 }
        );
        assert_eq!(parse(&"x".repeat(MAX_TOKEN_TEXT + 1)), BadJoinToken::TooLong);
    }
}
