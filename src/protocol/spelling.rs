//! How a request was spelled, so that its reply is spelled alike.

/// The part of a request that the cache has no use for and its reply needs. Plain data: it travels between cores.
/// Meta's return flags are too many to fit; they travel beside it, as `text`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    Classic {
        /// noreply: nothing is answered, not even errors.
        silent: bool,
        /// gets and gats: a hit shows its cas unique.
        with_cas: bool,
        /// The last key of its line: END follows, hit or miss.
        last: bool,
        /// incr and decr, which have words of their own for memory that is gone.
        counts: bool,
    },
    Meta {
        verb: MetaVerb,
        /// q: hides a miss of mg, success of ms, md and ma.
        quiet: bool,
        /// b: the key was spelled in base64.
        key_is_binary: bool,
        /// v: the value is to be returned.
        with_value: bool,
        /// mg C: the value is left out where the cas unique is the one in the text.
        compares: bool,
        /// ms: the size of the value that was sent, which s answers where the store fails.
        value_size: u32,
    },
    Binary {
        opcode: u8,
        opaque: u32,
    },
}

const _: () = assert!(size_of::<Spelling>() <= 16);

/// The verb of a meta request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaVerb {
    Get,
    Set,
    Delete,
    Arithmetic,
    /// me
    Debug,
}

impl Spelling {
    /// A classic request without options.
    pub const CLASSIC: Spelling = Spelling::classic(false);

    /// A classic request other than a get.
    pub const fn classic(silent: bool) -> Spelling {
        Spelling::Classic {
            silent,
            with_cas: false,
            last: false,
            counts: false,
        }
    }
}
