//! The bound of a request against the dearest answer that it allows, in 10,000 mutated requests: read by the ingress, bounded,
//! spelt by the adapters, answered by a provider that charges all that it may of what it was sent, and read back. In one
//! process: no bus and no sockets.

mod provider;
mod request;

use bytes::Bytes;
use penstock_dialects::provider::{Form, FormatRequest, FormatSettings, ProviderFormat, Quirk, Wanted};
use penstock_ingress::reading::{self, Reading};
use penstock_schemas::bound;
use penstock_schemas::envelope::{Delivery, Operation, Unsupported};
use penstock_schemas::model::ModelCard;
use penstock_schemas::name::ModelId;
use penstock_schemas::plan::Worst;
use penstock_workers::providers;
use provider::Provider;
use request::Dice;
use std::collections::BTreeMap;

/// Requests that are tried.
const CASES: u64 = 10_000;

/// Of these, so many must be answered at least, or the mutations spoil too much to say anything.
const ANSWERED: usize = 15_000;

/// A model with limits and prices of this case, some of which have tiers and classes of their own.
fn card(dice: &mut Dice) -> ModelCard {
    let price = |dice: &mut Dice| format!("{}", dice.below(30) + 1);
    let mut prices = format!(
        r#""input":"{}","output":"{}","per_search":"0.0{}","per_image":"0.{}","per_million_characters":"{}""#,
        price(dice),
        price(dice),
        dice.below(9) + 1,
        dice.below(9) + 1,
        price(dice)
    );
    for class in
        ["cache_read", "cache_write", "cache_write_1h", "reasoning", "input_audio", "output_audio", "input_image"]
    {
        if dice.below(3) == 0 {
            prices += &format!(r#","{class}":"{}""#, price(dice));
        }
    }
    if dice.below(3) == 0 {
        prices += &format!(r#","tiers":[{{"above_input_tokens":{},"input":"{}"}}]"#, dice.below(900), price(dice));
    }
    let json = format!(
        r#"{{"model":"m","mode":"chat","context":{},"max_output":{},"capabilities":["reasoning","tools"],
            "price":{{"price_id":"p","valid_from":0,"prices":{{{prices}}}}}}}"#,
        dice.below(100_000) + 50_000,
        dice.below(5_000) + 100,
    );
    serde_json::from_str(&json).expect("a card")
}

/// What is sent to a provider of this dialect; `None` when it cannot express the request.
fn spell(provider: Provider, form: Form, request: (Operation, &Bytes), card: &ModelCard) -> Option<Bytes> {
    let (operation, body) = request;
    let quirks = if provider.is_copy { vec![Quirk::MaxTokens, Quirk::TopK] } else { vec![Quirk::MaxCompletionTokens] };
    let spelled = providers::of(provider.dialect)?.spell(&FormatRequest {
        wanted: Wanted { operation, form, delivery: Delivery::Whole },
        body,
        content_type: None,
        headers: &BTreeMap::new(),
        model: &ModelId::parse("m").expect("a name"),
        card: Some(card),
        settings: &FormatSettings { region: Some("x".to_owned()), quirks, ..FormatSettings::default() },
        unsupported: Unsupported::Drop,
    });
    spelled.ok().map(|spelled| spelled.body)
}

/// What the dearest answer costs, in picodollars and in tokens.
fn charged(provider: Provider, form: Form, (operation, sent): (Operation, &Bytes), card: &ModelCard) -> Option<Worst> {
    let answer = provider.dearest(operation, sent, card)?;
    let wanted = Wanted { operation, form, delivery: Delivery::Whole };
    let whole = providers::of(provider.dialect)?.read_whole(wanted, &answer.to_string().into());
    let usage = whole.unwrap_or_else(|failure| panic!("{answer} cannot be read: {}", failure.message)).observed.usage?;
    let prices = &card.price.as_ref().expect("it has prices").prices;
    let usd = prices.cost(&usage).map(|cost| u64::try_from(cost.0).expect("a cost is not negative"));
    Some(Worst { usd, tokens: usage.input_total() + usage.output_total() })
}

#[test]
fn no_request_costs_more_than_what_is_set_aside_for_it_whatever_is_done_to_it() {
    let (mut answered, mut refused) = (0, 0);
    for case in 0..CASES {
        let mut dice = Dice::new(case);
        let (dialect, operation, text) = request::mutated(&mut dice);
        let body = Bytes::from(text);
        let Ok(Reading { agnostic, extent }) = reading::read(dialect, operation, &body, None) else {
            refused += 1;
            continue;
        };
        let card = card(&mut dice);
        for provider in Provider::all().filter(|provider| provider.takes(operation)) {
            let is_own = provider.dialect == dialect;
            let form = if is_own { Form::Own } else { Form::Agnostic };
            let Some(request) = (if is_own { Some(body.clone()) } else { agnostic.clone() }) else { continue };
            // As the pool of the provider tells it to the ingress.
            let least_output = providers::of(provider.dialect).and_then(ProviderFormat::least_output);
            let worst = bound::worst(Some(&ModelCard { least_output, ..card.clone() }), operation, &extent);
            let Some(sent) = spell(provider, form, (operation, &request), &card) else { continue };
            let Some(charged) = charged(provider, form, (operation, &sent), &card) else { continue };
            answered += 1;
            // What costs more than the prices say has no bound in money: a budget of money refuses it.
            let is_bounded = if extent.is_priority { worst.usd.is_none() } else { charged.usd <= worst.usd };
            assert!(
                is_bounded && charged.tokens <= worst.tokens,
                "case {case}: {provider:?} charges {charged:?}, and {worst:?} was set aside\n{dialect:?} {operation:?}: {}\nsent: {}\n{extent:?}",
                String::from_utf8_lossy(&body),
                String::from_utf8_lossy(&sent),
            );
        }
    }
    println!("{answered} answers, {refused} of {CASES} requests refused");
    assert!(answered >= ANSWERED, "only {answered} answers");
}
