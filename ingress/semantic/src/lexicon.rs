//! What is known of English words: numbers, negations, opposites, units, places. Knows no sentence.

use crate::stem::stem;
use std::collections::HashMap;
use std::sync::LazyLock;

const FILLERS: &str = "a about actually also am an and any anybody anyone are as at be been being best but by can could did \
    do does doing ever for from get give go going good got had has have having he her hers him his how i if in into is it its \
    just kind know let like lot made make many may me mean might mine more most much must my myself need of off on one's \
    only or our ours out own please put really regarding shall she should so some somebody someone something sort such \
    tell than that the their them themselves there these they thing things this those through to too up upon us use used \
    using very want was way ways we were what when where which while who whom whose why will with would you your yours \
    yourself i'm i've it's that's what's you're there's let's who's";

/// Words of which a change reverses or removes what is said.
const NEGATIONS: &str = "no not never none nobody nothing neither nor nowhere without cannot can't won't don't doesn't didn't \
    isn't aren't wasn't weren't shouldn't wouldn't couldn't hasn't haven't hadn't mustn't needn't ain't dont doesnt didnt isnt \
    arent wasnt wont cant shouldnt wouldnt couldnt hasnt havent except excluding unless hardly barely";

const NUMBERS: [(&str, &str); 40] = [
    ("zero", "0"),
    ("one", "1"),
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
    ("eleven", "11"),
    ("twelve", "12"),
    ("thirteen", "13"),
    ("fourteen", "14"),
    ("fifteen", "15"),
    ("sixteen", "16"),
    ("seventeen", "17"),
    ("eighteen", "18"),
    ("nineteen", "19"),
    ("twenty", "20"),
    ("thirty", "30"),
    ("forty", "40"),
    ("fifty", "50"),
    ("sixty", "60"),
    ("seventy", "70"),
    ("eighty", "80"),
    ("ninety", "90"),
    ("hundred", "100"),
    ("thousand", "1000"),
    ("million", "1000000"),
    ("billion", "1000000000"),
    ("half", "1/2"),
    ("quarter", "1/4"),
    ("twice", "2x"),
    ("double", "2x"),
    ("triple", "3x"),
    ("dozen", "12"),
    ("second", "2nd"),
    ("third", "3rd"),
];

/// Words that mean the opposite of each other, in groups: each of a group's first half against each of its second.
const OPPOSITES: &str = "good great best better|bad worst worse poor;big large huge|small little tiny;high higher \
    highest tall|low lower lowest short;fast faster quick quickly rapid|slow slower slowly;hot warm heat|cold cool \
    chill;new newer young younger|old older ancient;increase increasing gain gaining rise raise grow add adding up|\
    decrease decreasing lose losing loss fall reduce reducing lower drop remove removing down;before prior|after later;\
    first earliest|last latest final;start begin beginning open opening enable enabling turn-on allow allowed|stop end \
    ending close closing disable disabling forbid forbidden block banned;buy buying purchase import|sell selling sale \
    export;love like|hate dislike;left|right;left west|east;north northern|south southern;man men male boy husband \
    father son|woman women female girl wife mother daughter;rich wealthy|poor;easy easier easily simple|hard harder \
    difficult complex;safe safely|dangerous unsafe risky;cheap cheaper cheapest inexpensive|expensive costly dear;more \
    most maximum max|less least fewer minimum min;always|never rarely;above over|below under beneath;inside internal \
    indoor|outside external outdoor;win winning success succeed|lose losing failure fail;true|false;strong stronger \
    strength|weak weaker weakness;positive advantage advantages pros benefit benefits|negative disadvantage \
    disadvantages cons drawback drawbacks;public|private;legal|illegal;upload send sending|download receive receiving;\
    push|pull;encrypt encode compress|decrypt decode decompress;lend|borrow;early earlier|late later;full|empty;thick|\
    thin;wide|narrow;deep|shallow;heavy|light lightweight;dark|bright light;wet|dry;clean|dirty;happy|sad unhappy;\
    healthy|sick ill unhealthy;alive living|dead;day|night;morning|evening night;summer|winter;arrive arrival|depart \
    departure leave;accept accepted|reject rejected refuse decline;connect|disconnect;install|uninstall;lock|unlock;\
    mount|unmount;subscribe|unsubscribe;follow|unfollow;login |logout;appear|disappear vanish;agree|disagree;introvert|\
    extrovert;vertical|horizontal;odd|even;input|output;read|write;create make|delete destroy;ascending|descending;\
    export|import;synchronous sync|asynchronous async;hardware|software;virtual|physical;major|minor;senior|junior;ally \
    friend|enemy;victory|defeat;attack|defend;front|back rear;top|bottom;single|married;domestic|foreign international;\
    liquid|solid;acid acidic|alkaline base;male|female;smart intelligent clever|stupid dumb;beautiful pretty|ugly;brave|\
    coward;loud|quiet silent;soft|hard;sharp|blunt;sweet|bitter sour;tight|loose;with|without;active|passive;buyer|\
    seller;employer|employee;parent|child;cause causes reason|effect effects consequence;supply|demand;profit|loss;\
    asset|liability;debit|credit;wake|sleep;lighten|darken;gain|lose;same similar|different;include including|exclude \
    excluding;encourage|discourage;remember|forget;ascend|descend";

/// Beginnings and endings that turn a word into its opposite.
const PREFIXES: [&str; 9] = ["un", "in", "im", "il", "ir", "dis", "non", "anti", "de"];

/// Units: who asks in another one wants another answer.
const UNITS: &str = "mm cm km kms mi m meter metre kilometer kilometre centimeter centimetre millimeter mile inch inche feet foot ft yard \
    kg kgs g mg gram kilogram milligram pound lb lbs ounce oz ton tonne stone l ml liter litre milliliter gallon pint quart cup \
    tablespoon teaspoon tbsp tsp celsius fahrenheit kelvin second sec minute min hour hr day week month year decade century \
    ms ns us byte bit kb mb gb tb kib mib gib kbps mbps hz khz mhz ghz watt kw kwh volt amp joule calory kcal kj psi bar pascal \
    degree radian mph kph knot usd eur gbp inr jpy cny cad aud chf dollar euro rupee yen yuan ruble rouble peso franc lakh crore percent % ° $ € £ \
    acre hectare daily weekly monthly yearly annual annually hourly";

/// Places that are written without a capital too: states, peoples, languages, parts of the world; days and months.
const PLACES: &str = include_str!("places.txt");

static SETS: LazyLock<HashMap<&str, u8>> = LazyLock::new(|| {
    let mut sets = HashMap::new();
    for (words, bit) in [(FILLERS, 1), (NEGATIONS, 2), (UNITS, 4), (PLACES, 8)] {
        words.split_whitespace().for_each(|word| *sets.entry(word).or_default() |= bit);
    }
    sets
});

fn is_in(word: &str, bit: u8) -> bool {
    SETS.get(word).is_some_and(|bits| bits & bit != 0)
}

/// Whether a word only holds the sentence together.
pub(crate) fn is_filler(word: &str) -> bool {
    is_in(word, 1)
}

/// Whether a word denies.
pub(crate) fn is_negation(word: &str) -> bool {
    is_in(word, 2)
}

/// Whether a word's stem, or the word, is a unit.
pub(crate) fn is_unit(word: &str) -> bool {
    is_in(word, 4) || word.strip_suffix('s').is_some_and(|one| is_in(one, 4))
}

/// Whether a word is the name of a place, a people, a language, a day or a month.
pub(crate) fn is_place(word: &str) -> bool {
    is_in(word, 8)
}

/// The digits of a number in words or digits.
pub(crate) fn number(word: &str) -> Option<String> {
    if word == "one" {
        return None; // mostly a pronoun
    }
    if let Some((_, digits)) = NUMBERS.iter().find(|(name, _)| *name == word) {
        return Some((*digits).to_owned());
    }
    let has_digit = word.chars().any(|c| c.is_ascii_digit());
    let is_number = has_digit && word.chars().all(|c| c.is_ascii_digit() || ".,:/-%$€£+".contains(c));
    is_number.then(|| word.replace(',', ""))
}

static PAIRS: LazyLock<HashMap<String, Vec<(usize, bool)>>> = LazyLock::new(|| {
    let mut pairs: HashMap<String, Vec<(usize, bool)>> = HashMap::new();
    for (at, group) in OPPOSITES.split(';').enumerate() {
        for (side, words) in group.split('|').enumerate() {
            for word in words.split_whitespace() {
                for form in [word.to_owned(), stem(word)] {
                    pairs.entry(form).or_default().push((at, side == 0));
                }
            }
        }
    }
    pairs
});

/// Whether two words, or their stems, mean the opposite of each other.
pub(crate) fn are_opposites(a: &str, b: &str) -> bool {
    let prefixed = |long: &str, short: &str| {
        short.len() > 2 && PREFIXES.iter().any(|prefix| long.strip_prefix(prefix) == Some(short))
    };
    let suffixed = |a: &str, b: &str| a.strip_suffix("less").is_some_and(|root| root.len() > 2 && b.starts_with(root));
    if prefixed(a, b) || prefixed(b, a) || suffixed(a, b) || suffixed(b, a) {
        return true;
    }
    let (Some(a), Some(b)) = (PAIRS.get(a), PAIRS.get(b)) else { return false };
    a.iter().any(|(group, side)| b.contains(&(*group, !side)))
}
