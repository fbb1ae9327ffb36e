//! Which tools a provider takes: names, kinds, its own search. Knows no request (see `tool_map`).

/// Which tools a provider takes.
#[derive(Clone, Copy, Debug)]
pub struct ToolRule {
    /// The longest name, in characters.
    pub longest: usize,
    /// The characters that a name may hold besides ASCII letters, digits and `_`.
    pub others: &'static str,
    /// Whether a name may begin with something else than a letter or `_`.
    pub any_start: bool,
    /// Whether it takes tools of type `custom`, whose input is free text.
    pub free_text: bool,
    /// Whether it takes a choice of `allowed_tools`; others get these tools alone.
    pub allowed_tools: bool,
    /// Whether it can be told to call one tool at a time; of the calls of others, the first is given back.
    pub serial: bool,
    /// Whether it knows Anthropic's tools that the caller carries out; others get them as functions.
    pub client_tools: bool,
    /// Its own search of the web.
    pub search: Search,
}

impl ToolRule {
    /// OpenAI's names, which most providers copy: `^[a-zA-Z0-9_-]{1,64}$`.
    /// Source: <https://platform.openai.com/docs/api-reference/chat/create#chat-create-tools>.
    pub const FUNCTIONS: Self = Self {
        longest: 64,
        others: "-",
        any_start: true,
        free_text: false,
        allowed_tools: false,
        serial: true,
        client_tools: false,
        search: Search::None,
    };

    /// Whether it takes a tool of this name.
    pub(crate) fn takes(&self, name: &str) -> bool {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let starts = self.any_start || !name.starts_with(|c: char| !c.is_ascii_alphabetic() && c != '_');
        starts && name.len() <= self.longest && name.chars().all(|c| is_plain(c) || self.others.contains(c))
    }

    /// Another name for this one, which tells as much of it as there is room for.
    pub(crate) fn rename(&self, name: &str, salt: u64) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || self.others.contains(c) { c } else { '_' };
        let start = if self.any_start || name.starts_with(|c: char| c.is_ascii_alphabetic()) { "" } else { "_" };
        let hash = format!("{:08x}", fnv(name, salt) >> 32);
        let room = self.longest.saturating_sub(start.len() + 1 + hash.len());
        let told: String = name.chars().map(plain).take(room).collect();
        format!("{start}{told}_{hash}")
    }
}

fn fnv(name: &str, salt: u64) -> u64 {
    let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325_u64 ^ salt, add)
}

/// What a provider has for a search of the web.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Nothing. Beside functions the tool is left out and named, since an agent can do without; a request for a search alone
    /// is refused by the adapter.
    None,
    /// Anthropic's tool.
    Anthropic,
    /// OpenAI's, of its responses.
    Openai,
    /// Google's, which most of its models take alone: <https://ai.google.dev/gemini-api/docs/function-calling#multi-tool-use>.
    Google,
}
