//! The extent of requests in each dialect, as tables.

use super::*;
use crate::dialect::{Dialect, Operation};
use crate::form::MultipartForm;

use Dialect::{Anthropic, Google, Openai, Responses};
use Operation::{Chat, Completions, Embeddings, Images, Rerank, Speech};

fn read(dialect: Dialect, operation: Operation, request: &str) -> Result<Extent, String> {
    Extent::read(dialect, operation, request.as_bytes()).map_err(|error| error.to_string())
}

/// All but the length.
fn of(dialect: Dialect, operation: Operation, request: &str) -> Extent {
    Extent { bytes: 0, ..read(dialect, operation, request).unwrap_or_else(|error| panic!("{request}: {error}")) }
}

#[test]
fn a_name_that_stands_twice_is_refused_at_every_level_and_named() {
    for (dialect, request, place) in [
        (Openai, r#"{"n":1,"n":128}"#, "n"),
        (Openai, r#"{"n":1,"\u006e":128}"#, "n"),
        (Openai, r#"{"messages":[{"role":"user","content":"a","content":"b"}]}"#, "messages[0].content"),
        (Openai, r#"{"tools":[{"function":{"parameters":{"a":{"b":1,"b":2}}}}]}"#, "tools[0].function.parameters.a.b"),
        (Openai, r#"{"metadata":{"a":"1","a":"2"}}"#, "metadata.a"),
        (Openai, r#"{"x":[[{"y":1,"y":1}]]}"#, "x[0][0].y"),
        (Anthropic, r#"{"thinking":{"budget_tokens":1,"budget_tokens":2}}"#, "thinking.budget_tokens"),
        (Google, r#"{"generationConfig":{},"generation_config":{}}"#, "generation_config"),
        (
            Google,
            r#"{"generationConfig":{"maxOutputTokens":1,"max_output_tokens":2}}"#,
            "generationConfig.max_output_tokens",
        ),
    ] {
        let told = format!("`{place}`: it stands there twice, and providers differ in which they read");
        assert_eq!(read(dialect, Chat, request), Err(told), "{request}");
    }
    let many: String = (0..1000).map(|at| format!("\"k{at}\":0,")).collect();
    assert!(read(Openai, Chat, &format!("{{{many}\"x\":1}}")).is_ok());
    assert!(read(Openai, Chat, &format!("{{{many}\"k7\":1}}")).is_err());
    // The arguments of the caller's own functions tell names apart by their case.
    assert!(read(Google, Chat, r#"{"contents":[{"parts":[{"functionCall":{"args":{"a_b":1,"aB":2}}}]}]}"#).is_ok());
}

#[test]
fn a_field_that_multiplies_cost_is_a_whole_number_or_refused_by_name() {
    for (dialect, request, place) in [
        (Openai, r#"{"best_of":"1"}"#, "best_of"),
        (Openai, r#"{"max_output_tokens":1.5}"#, "max_output_tokens"),
        (Openai, r#"{"n":[128]}"#, "n"),
        (Openai, r#"{"n":-1}"#, "n"),
        (Openai, r#"{"max_tokens":true}"#, "max_tokens"),
        (Openai, r#"{"generation_config":0}"#, "generation_config"),
        (Anthropic, r#"{"max_tokens":"5"}"#, "max_tokens"),
        (Anthropic, r#"{"thinking":{"type":"enabled","budget_tokens":1.5}}"#, "thinking.budget_tokens"),
        (Anthropic, r#"{"tools":[{"type":"web_search_20250305","max_uses":"5"}]}"#, "tools[0].max_uses"),
        (Google, r#"{"generationConfig":{"candidateCount":{}}}"#, "generationConfig.candidateCount"),
        (Google, r#"{"generationConfig":{"maxOutputTokens":"many"}}"#, "generationConfig.maxOutputTokens"),
        (Responses, r#"{"max_output_tokens":"5"}"#, "max_output_tokens"),
    ] {
        let refused = read(dialect, Chat, request).unwrap_err();
        assert!(refused.starts_with(&format!("`{place}`: it must be")), "{request}: {refused}");
    }
    for request in ["", "[]", "{", "{\"a\"}", "{} x", "{\"a\":1,}", "\"a\"", "{\"a\":\""] {
        assert!(read(Openai, Chat, request).is_err(), "{request}");
    }
    let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    assert!(read(Openai, Chat, &deep(DEEPEST)).is_ok());
    assert_eq!(read(Openai, Chat, &deep(DEEPEST + 1)), Err("it is nested more than 127 levels deep".to_owned()));
}

#[test]
fn limits_count_where_their_dialect_has_them_and_elsewhere_can_only_raise() {
    let limits = |output, other_output| Extent { output, other_output, ..Extent::default() };
    for (dialect, request, found) in [
        (Openai, r#"{"max_tokens":5}"#, limits(Some(5), 0)),
        (Openai, r#"{"max_tokens":5,"max_completion_tokens":7}"#, limits(Some(7), 0)),
        (Openai, r#"{"max_tokens":null}"#, limits(None, 0)),
        (Openai, r#"{"max_tokens":0}"#, limits(None, 0)),
        (Openai, r#"{"max_tokens":100.0}"#, limits(Some(100), 0)),
        (Openai, r#"{"max_tokens":1e2}"#, limits(Some(100), 0)),
        (Openai, r#"{"max_tokens":1e400}"#, limits(Some(u64::MAX), 0)),
        (Openai, r#"{"max_tokens":99999999999999999999}"#, limits(Some(u64::MAX), 0)),
        (Openai, r#"{"max_output_tokens":5}"#, limits(None, 5)),
        (Openai, r#"{"MAX_TOKENS":500,"max_tokens":5}"#, limits(Some(5), 500)),
        (Openai, r#"{"max_to\u212aens":500,"max_tokens":5}"#, limits(Some(5), 500)),
        (Openai, r#"{"min_tokens":500,"max_tokens":5}"#, limits(Some(5), 500)),
        (Openai, r#"{"extra_body":{"a":{"max_new_tokens":500}},"max_tokens":5}"#, limits(Some(5), 500)),
        (Openai, r#"{"options":{"num_predict":-1},"max_tokens":5}"#, limits(Some(5), 0)),
        (Anthropic, r#"{"max_tokens":5,"max_completion_tokens":9}"#, limits(Some(5), 9)),
        (Responses, r#"{"max_output_tokens":5,"max_tokens":9}"#, limits(Some(5), 9)),
        (Google, r#"{"generation_config":{"max_output_tokens":5}}"#, limits(Some(5), 0)),
        (Google, r#"{"generationConfig":{"maxOutputTokens":"5"}}"#, limits(Some(5), 0)),
        (Google, r#"{"max_tokens":5}"#, limits(None, 5)),
        (Openai, r#"{"messages":[{"content":"max_tokens","max_tokens":9}],"max_tokens":5}"#, limits(Some(5), 0)),
        (Openai, r#"{"tools":[],"response_format":{"max_tokens":9}}"#, Extent { has_tools: true, ..limits(None, 0) }),
    ] {
        assert_eq!(of(dialect, Chat, request), found, "{request}");
    }
    let extent = Extent { output: Some(5), other_output: 9, thinking: 20, predicted: 3, ..Extent::default() };
    assert_eq!((extent.output_within(1000), Extent { output: None, ..extent }.output_within(1000)), (32, 1023));
}

#[test]
fn everything_that_makes_more_answers_or_longer_ones_is_found_under_each_of_its_names() {
    let choices = |choices| Extent { choices, ..Extent::default() };
    let thinking = |thinking| Extent { thinking, ..Extent::default() };
    for (dialect, operation, request, found) in [
        (Openai, Chat, r#"{"n":128}"#, choices(128)),
        (Openai, Chat, r#"{"N":128}"#, choices(128)),
        (Openai, Chat, r#"{"n":1,"best_of":20}"#, choices(20)),
        (Openai, Chat, r#"{"extra_body":{"n":"7"}}"#, choices(7)),
        (Google, Chat, r#"{"generationConfig":{"candidateCount":8}}"#, choices(8)),
        (Openai, Images, r#"{"n":2,"num_images":4}"#, choices(4)),
        (Openai, Images, r#"{"parameters":{"sampleCount":4}}"#, choices(4)),
        (Openai, Completions, r#"{"prompt":["a","b","c"],"n":2}"#, Extent { texts: 3, ..choices(2) }),
        (Openai, Completions, r#"{"prompt":[1,2,3]}"#, choices(0)),
        (Openai, Completions, r#"{"prompt":[[1,2],[3]]}"#, Extent { texts: 2, ..choices(0) }),
        (Openai, Embeddings, r#"{"input":["a","b"]}"#, Extent { texts: 2, ..choices(0) }),
        (Google, Embeddings, r#"{"requests":[{"content":{}},{"content":{}}]}"#, Extent { texts: 2, ..choices(0) }),
        (Anthropic, Chat, r#"{"thinking":{"type":"enabled","budget_tokens":9}}"#, thinking(9)),
        (Openai, Chat, r#"{"reasoning":{"max_tokens":9}}"#, thinking(9)),
        (Google, Chat, r#"{"generationConfig":{"thinkingConfig":{"thinkingBudget":9}}}"#, thinking(9)),
        (Google, Chat, r#"{"generationConfig":{"thinkingConfig":{"thinkingBudget":-1}}}"#, thinking(0)),
        (
            Openai,
            Chat,
            r#"{"service_tier":"priority"}"#,
            Extent { is_priority: true, service: AskedService::Tier, ..choices(0) },
        ),
        (Openai, Chat, r#"{"prediction":"abc"}"#, Extent { predicted: 5, ..choices(0) }),
        (Openai, Speech, r#"{"speed":0.25}"#, Extent { slowness: 4, ..choices(0) }),
        (Openai, Images, r#"{"size":"4096x4096"}"#, Extent { image_tokens: 131_072, ..choices(0) }),
        (Openai, Images, r#"{"size":"8K"}"#, Extent { image_tokens: 131_072, ..choices(0) }),
        (Openai, Images, r#"{"size":"auto"}"#, choices(0)),
        (
            Openai,
            Rerank,
            r#"{"query":"abc","documents":["a",{"text":"b"}]}"#,
            Extent { query: 5, documents: 2, ..choices(0) },
        ),
    ] {
        assert_eq!(of(dialect, operation, request), found, "{request}");
    }
}

#[test]
fn images_and_files_are_counted_by_their_types_and_never_by_words() {
    let seen = |images, is_open| Extent { images, is_open, ..Extent::default() };
    for (dialect, request, found) in [
        (Openai, r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"u"}}]}]}"#, seen(1, false)),
        (
            Openai,
            r#"{"messages":[{"content":[{"type":"image_url","image_url":"u"},{"type":"text"}]}]}"#,
            seen(1, false),
        ),
        (Openai, r#"{"messages":[{"content":[{"type":"file","file":{"file_id":"f"}}]}]}"#, seen(0, true)),
        (Openai, r#"{"messages":[{"content":[{"type":"input_audio","input_audio":{}}]}]}"#, seen(0, true)),
        (Openai, r#"{"messages":[{"content":"{\"type\": \"file\"} \"document\" \"video"}]}"#, seen(0, false)),
        (
            Openai,
            r#"{"messages":[{"tool_calls":[{"type":"function","function":{"arguments":"{\"type\":\"file\"}"}}]}]}"#,
            seen(0, false),
        ),
        (Responses, r#"{"input":[{"type":"input_image","image_url":"u"},{"type":"input_image"}]}"#, seen(2, false)),
        (Responses, r#"{"input":[{"role":"user","content":[{"type":"input_file","file_url":"u"}]}]}"#, seen(0, true)),
        (Responses, r#"{"input":[{"type":"item_reference","id":"x"}]}"#, seen(0, true)),
        (Responses, r#"{"input":"a","previous_response_id":"x"}"#, seen(0, true)),
        (Anthropic, r#"{"messages":[{"content":[{"type":"image","source":{"type":"url"}}]}]}"#, seen(1, false)),
        (Anthropic, r#"{"messages":[{"content":[{"type":"document","source":{"type":"url"}}]}]}"#, seen(0, true)),
        (
            Anthropic,
            r#"{"messages":[{"content":[{"type":"document","source":{"type":"text","data":"a"}}]}]}"#,
            seen(0, false),
        ),
        (
            Anthropic,
            r#"{"messages":[{"content":[{"type":"tool_result","content":[{"type":"image"}]}]}]}"#,
            seen(1, false),
        ),
        (
            Anthropic,
            r#"{"messages":[{"content":[{"type":"tool_use","input":{"type":"document","file_id":"x"}}]}]}"#,
            seen(0, false),
        ),
        (Google, r#"{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png"}}]}]}"#, seen(1, false)),
        (Google, r#"{"contents":[{"parts":[{"inline_data":{"mime_type":"application/pdf"}}]}]}"#, seen(0, true)),
        (Google, r#"{"contents":[{"parts":[{"fileData":{"fileUri":"u"}}]}]}"#, seen(0, true)),
        (Google, r#"{"contents":{"parts":{"fileData":{"fileUri":"u"}}}}"#, seen(0, true)),
        (Google, r#"{"contents":{"parts":{"inlineData":{"mimeType":"image/png"}}}}"#, seen(1, false)),
        (Google, r#"{"contents":[],"cachedContent":"c"}"#, seen(0, true)),
        (
            Google,
            r#"{"contents":[{"parts":[{"functionResponse":{"response":{"fileData":{"type":"file"}}}}]}]}"#,
            seen(0, false),
        ),
    ] {
        assert_eq!(of(dialect, Chat, request), found, "{request}");
    }
}

#[test]
fn only_the_tools_that_the_provider_runs_make_it_work_by_itself() {
    for (dialect, request, turns) in [
        (Openai, r#"{"tools":[{"type":"function","function":{"name":"web_search"}}]}"#, 0),
        (Openai, r#"{"tools":[{"type":"function","function":{"parameters":{"a":{"type":"web_search"}}}}]}"#, 0),
        (Openai, r#"{"messages":[{"content":"{\"type\": \"web_search\"}"}],"tools":[]}"#, 0),
        (Openai, r#"{"tools":[{"type":"web_search"}]}"#, 10),
        (Openai, r#"{"web_search_options":{}}"#, 10),
        (Openai, r#"{"search_parameters":{"mode":"off"}}"#, 0),
        (Openai, r#"{"search_parameters":{"mode":"auto"}}"#, 10),
        (Openai, r#"{"plugins":[{"id":"web"}]}"#, 10),
        (Openai, r#"{"enable_search":false}"#, 0),
        (Anthropic, r#"{"tools":[{"name":"web_search","input_schema":{"type":"object"}}]}"#, 0),
        (Anthropic, r#"{"tools":[{"type":"custom","name":"web_search"},{"type":"bash_20250124"}]}"#, 0),
        (Anthropic, r#"{"tools":[{"type":"web_search_20250305","max_uses":3}]}"#, 10),
        (Anthropic, r#"{"tools":[{"type":"web_search_20250305","max_uses":50}]}"#, 50),
        (
            Anthropic,
            r#"{"tools":[{"max_uses":50,"type":"web_fetch_20250910"},{"type":"code_execution_20250825"}]}"#,
            50,
        ),
        (Responses, r#"{"tools":[{"type":"custom","name":"file_search"}],"max_tool_calls":90}"#, 0),
        (Responses, r#"{"tools":[{"type":"file_search"}],"max_tool_calls":90}"#, 90),
        (Google, r#"{"tools":[{"functionDeclarations":[{"name":"googleSearch"}]}]}"#, 0),
        (Google, r#"{"tools":[{"google_search":{}}]}"#, 10),
        (Google, r#"{"tools":[{"codeExecution":{}}]}"#, 10),
        (Google, r#"{"tools":{"functionDeclarations":{"name":"googleSearch"}}}"#, 0),
        (Google, r#"{"tools":{"google_search":{}}}"#, 10),
        (Openai, r#"{"plugins":[],"data_sources":[]}"#, 0),
        (Openai, r#"{"data_sources":[{"type":"azure_search"}]}"#, 10),
        (Openai, r#"{"enable_search":"true"}"#, 10),
        (Openai, r#"{"enable_search":1}"#, 10),
        (Openai, r#"{"web_search":"on"}"#, 10),
        (Openai, r#"{"web_search":"off","enable_search":0}"#, 0),
        (Openai, r#"{"extra_body":{"tools":[{"type":"web_search"}]}}"#, 10),
        (Openai, r#"{"tools":[{"googleSearch":{}}]}"#, 10),
        (Openai, r#"{"tools":[{"toolSpec":{"name":"f"}},{"function":{"name":"f"}}]}"#, 0),
        (Responses, r#"{"tools":[{"type":"namespace","tools":[{"type":"web_search"}]}]}"#, 10),
        (Responses, r#"{"tools":[{"type":"namespace","tools":[{"type":"function"}]}]}"#, 0),
        (Responses, r#"{"input":[{"type":"additional_tools","tools":[{"type":"web_search"}]}]}"#, 10),
        (Responses, r#"{"input":[{"type":"mcp_list_tools","tools":[{"name":"f","input_schema":{}}]}]}"#, 0),
    ] {
        assert_eq!(of(dialect, Chat, request).own_turns, turns, "{request}");
    }
}

#[test]
fn a_form_with_a_part_twice_is_refused_and_one_that_names_an_address_counts_at_its_largest() {
    let form = |names: &[&str]| {
        let part = |name: &&str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\nx\r\n");
        names.iter().map(part).collect::<String>() + "--b--\r\n"
    };
    let read = |names: &[&str]| {
        let body = form(names);
        let form = MultipartForm::read(body.as_bytes(), "multipart/form-data; boundary=b").unwrap();
        Extent::of_form(Operation::Transcriptions, &form, body.len())
    };
    assert!(read(&["model", "include[]", "include[]"]).is_ok());
    assert_eq!(
        read(&["model", "stream", "model"]).unwrap_err().to_string(),
        "`model`: it stands there twice, and providers differ in which they read"
    );
    assert!(read(&["url"]).unwrap().bytes > 100_000_000);
}

#[test]
fn a_form_for_images_counts_its_files_as_images_and_what_multiplies_them() {
    let read = |fields: &[(&str, &str)]| {
        let part = |name: &str, value: &str| {
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let file = |name: &str| part(name, &"x".repeat(5000)).replace("\"\r\n\r\n", "\"; filename=\"a.png\"\r\n\r\n");
        let fields: String = fields.iter().map(|(name, value)| part(name, value)).collect();
        let body = fields + &file("image[]") + &file("image[]") + "--b--\r\n";
        let form = MultipartForm::read(body.as_bytes(), "multipart/form-data; boundary=b").unwrap();
        Extent::of_form(Operation::ImageEdits, &form, body.len())
    };
    let extent = read(&[("prompt", "a hat"), ("n", "3"), ("size", "1024x1024"), ("partial_images", "2")]).unwrap();
    assert_eq!((extent.choices, extent.images, extent.image_tokens), (3, 2, 3 * IMAGE_TOKENS));
    assert!(extent.bytes < 1000, "{}", extent.bytes);
    for (name, value) in [("n", "-1"), ("n", "many"), ("partial_images", "1.5")] {
        assert!(
            matches!(read(&[(name, value)]), Err(BadRequest::Wrong { place, .. }) if place == name),
            "{name} {value}"
        );
    }
}

#[test]
fn a_field_that_leads_to_another_model_is_refused_by_name() {
    for (dialect, request, place) in [
        (Openai, r#"{"models":["dear/m"]}"#, "models"),
        (Openai, r#"{"Models":["dear/m"],"route":"fallback"}"#, "Models"),
        (Openai, r#"{"fallbacks":[{"model":"dear"}]}"#, "fallbacks"),
        (Openai, r#"{"extra_body":{"fallback_models":["dear"]}}"#, "extra_body.fallback_models"),
        (Openai, r#"{"providerOptions":{"gateway":{"models":["dear"]}}}"#, "providerOptions.gateway.models"),
        (Openai, r#"{"compound_custom":{"models":{"answering_model":"dear"}}}"#, "compound_custom.models"),
        (Openai, r#"{"preset":"dear"}"#, "preset"),
        (Openai, r#"{"agent_id":"ag_1"}"#, "agent_id"),
        (Responses, r#"{"models":["dear/m"]}"#, "models"),
        (Responses, r#"{"tools":[{"type":"image_generation","model":"dear"}]}"#, "tools[0].model"),
        (Anthropic, r#"{"tools":[{"model":"dear","type":"advisor_20260301"}]}"#, "tools[0].model"),
        (Openai, r#"{"mo_del":"dear","model":"m"}"#, "mo_del"),
        (Openai, r#"{"draft_model":"dear"}"#, "draft_model"),
        (Openai, r#"{"extra_body":{"model":"dear"}}"#, "extra_body.model"),
        (Openai, r#"{"extra_body":[{"models":["dear"]}]}"#, "extra_body[0].models"),
        (Openai, r#"{"plugins":[{"id":"fusion","analysis_models":["dear"]}]}"#, "plugins[0].analysis_models"),
        (
            Openai,
            r#"{"data_sources":[{"parameters":{"embedding_dependency":{"deployment_name":"dear"}}}]}"#,
            "data_sources[0].parameters.embedding_dependency.deployment_name",
        ),
        (
            Openai,
            r#"{"tools":[{"type":"openrouter:fusion","parameters":{"analysis_models":["dear"]}}]}"#,
            "tools[0].parameters.analysis_models",
        ),
        (Openai, r#"{"tools":[{"config":{"model":"dear"},"type":"x_tool"}]}"#, "tools[0].config.model"),
        (
            Google,
            r#"{"generationConfig":{"routingConfig":{"manualMode":{"modelName":"dear"}}}}"#,
            "generationConfig.routingConfig",
        ),
        (
            Google,
            r#"{"tools":[{"retrieval":{"vertexRagStore":{"ranking":{"llmRanker":{"modelName":"dear"}}}}}]}"#,
            "tools[0].retrieval.vertexRagStore.ranking.llmRanker.modelName",
        ),
        (
            Responses,
            r#"{"tools":[{"type":"namespace","tools":[{"type":"image_generation","model":"dear"}]}]}"#,
            "tools[0].tools[0].model",
        ),
        (
            Responses,
            r#"{"input":[{"type":"tool_search_output","tools":[{"type":"image_generation","model":"dear"}]}]}"#,
            "input[0].tools[0].model",
        ),
    ] {
        let refused = read(dialect, Chat, request).unwrap_err();
        assert!(refused.starts_with(&format!("`{place}`: it leads to another model")), "{request}: {refused}");
    }
    assert!(read(Openai, Completions, r#"{"preset":"dear"}"#).is_err());
    let form = |name: &str| {
        let body = format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\nm\r\n--x--\r\n");
        let form = MultipartForm::read(body.as_bytes(), "multipart/form-data; boundary=x").unwrap();
        Extent::of_form(Operation::Transcriptions, &form, 0).is_ok()
    };
    let names = ["model", "fallbacks", "Models", "model[]", "models[0]", "metadata[model]"];
    assert_eq!(names.map(form), [true, false, false, false, false, true]);
}

#[test]
fn what_a_message_a_schema_or_the_callers_own_data_names_so_is_no_other_model() {
    for request in [
        r#"{"models":null}"#,
        r#"{"metadata":{"models":"a","preset":"b"}}"#,
        r#"{"moderation":{"model":"omni-moderation-latest"}}"#,
        r#"{"tools":[{"type":"function","name":"f","model":"mine"}]}"#,
        r#"{"messages":[{"content":"a","models":["b"]}]}"#,
        r#"{"response_format":{"json_schema":{"schema":{"properties":{"models":{}}}}}}"#,
        r#"{"model":"m","x":{"is_model":true,"modelling":"a"}}"#,
        r#"{"documents":[{"data":{"model":"a car"}}]}"#,
        r#"{"tools":[{"name":"f","input_schema":{"properties":{"model":{}}}}]}"#,
        r#"{"tools":[{"parameters":{"properties":{"model":{}}},"type":"function","name":"f"}]}"#,
    ] {
        assert!(read(Openai, Chat, request).is_ok(), "{request}");
    }
}

#[test]
fn a_service_that_is_charged_at_more_than_the_prices_is_found() {
    for (dialect, request, is_priority) in [
        (Openai, r#"{"service_tier":"priority"}"#, true),
        (Openai, r#"{"service_tier":"auto"}"#, false),
        (Openai, r#"{"service_tier":"flex"}"#, false),
        (Openai, r#"{"extra_body":{"service_tier":"Priority"}}"#, true),
        (Openai, r#"{"serviceTier":{"type":"priority"}}"#, true),
        (Openai, r#"{"performanceConfig":{"latency":"optimized"}}"#, true),
        (Openai, r#"{"performanceConfig":{"latency":"standard"}}"#, false),
        (Google, r#"{"serviceTier":"SERVICE_TIER_PRIORITY"}"#, true),
        (Google, r#"{"serviceTier":"SERVICE_TIER_UNSPECIFIED"}"#, false),
        (Google, r#"{"serviceTier":3}"#, true),
        (Google, r#"{"serviceTier":0}"#, false),
        (Openai, r#"{"service_tier":"priority "}"#, true),
        (Openai, r#"{"service_tier":["priority"]}"#, true),
        (Openai, r#"{"service_tier":"a_new_one"}"#, true),
        (Openai, r#"{"extra_body":[{"service_tier":"priority"}]}"#, true),
        (Responses, r#"{"tools":[{"type":"image_generation"}]}"#, true),
        (Anthropic, r#"{"speed":"fast"}"#, true),
        (Anthropic, r#"{"inference_geo":"us"}"#, true),
        (Anthropic, r#"{"inference_geo":"global","speed":"standard"}"#, false),
        (Responses, r#"{"tools":[{"type":"code_interpreter","container":{"type":"auto"}}]}"#, false),
        (Responses, r#"{"tools":[{"type":"code_interpreter","container":{"memory_limit":"1g"}}]}"#, false),
        (Responses, r#"{"tools":[{"type":"code_interpreter","container":{"memory_limit":"64g"}}]}"#, true),
    ] {
        assert_eq!(of(dialect, Chat, request).is_priority, is_priority, "{request}");
    }
    assert_eq!(of(Openai, Speech, r#"{"speed":"0.25"}"#).slowness, 4);
}

#[test]
fn a_conversation_that_the_provider_may_sum_up_is_read_and_written_twice() {
    let twice = Extent { is_open: true, texts: 2, ..Extent::default() };
    for (dialect, request, found) in [
        (Anthropic, r#"{"context_management":{"edits":[{"type":"compact_20260112"}]}}"#, twice.clone()),
        (Responses, r#"{"context_management":[{"type":"compaction","compact_threshold":9}]}"#, twice),
        (Anthropic, r#"{"context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]}}"#, Extent::default()),
    ] {
        assert_eq!(of(dialect, Chat, request), found, "{request}");
    }
}

#[test]
fn tools_messages_parts_and_choices_have_a_most() {
    let list = |item: &str, count: usize| format!("[{}]", vec![item; count].join(","));
    let (tool, message, part) = (r#"{"type":"function"}"#, r#"{"content":"a"}"#, r#"{"type":"text"}"#);
    for (dialect, before, item, after, most) in [
        (Openai, r#"{"tools":"#, tool, "}", 2_048),
        (Anthropic, r#"{"tools":"#, tool, "}", 2_048),
        (Google, r#"{"tools":[{"functionDeclarations":"#, tool, "}]}", 2_048),
        (Openai, r#"{"tool_choice":{"allowed_tools":{"tools":"#, tool, "}}}", 2_048),
        (Google, r#"{"toolConfig":{"functionCallingConfig":{"allowedFunctionNames":"#, "\"a\"", "}}}", 2_048),
        (Openai, r#"{"messages":"#, message, "}", 20_000),
        (Responses, r#"{"input":"#, part, "}", 20_000),
        (Anthropic, r#"{"messages":[{"content":"#, part, "}]}", 19_999),
        (Openai, r#"{"messages":[{"tool_calls":"#, part, "}]}", 5_000),
        (Anthropic, r#"{"messages":[{"content":"#, r#"{"type":"tool_use"}"#, "}]}", 5_000),
        (Responses, r#"{"input":"#, r#"{"type":"function_call"}"#, "}", 5_000),
        (Google, r#"{"contents":[{"parts":"#, r#"{"functionCall":{}}"#, "}]}", 5_000),
        (Google, r#"{"contents":[{"parts":"#, part, "}]}", 19_999),
    ] {
        let read = |count| read(dialect, Chat, &format!("{before}{}{after}", list(item, count)));
        assert!(read(most).is_ok(), "{before}");
        assert!(read(most + 1).is_err_and(|why| why.contains(" at most ")), "{before}");
    }
    // However they are grouped.
    for (dialect, group, most) in [
        (Google, format!(r#"{{"functionDeclarations":{}}}"#, list(r#"{"name":"f"}"#, 100)), 20),
        (Responses, format!(r#"{{"type":"namespace","tools":{}}}"#, list(tool, 100)), 20),
    ] {
        let read = |count| read(dialect, Chat, &format!("{{\"tools\":{}}}", list(&group, count)));
        assert!(read(most).is_ok(), "{dialect:?}");
        assert!(read(most + 1).is_err_and(|why| why.contains(" at most ")), "{dialect:?}");
    }
    let fields = |count| (0..count).map(|at| format!("\"k{at}\":0")).collect::<Vec<_>>().join(",");
    assert!(read(Openai, Chat, &format!("{{{}}}", fields(2_048))).is_ok());
    assert!(read(Openai, Chat, &format!("{{{}}}", fields(2_049))).is_err_and(|why| why.contains("2048 fields")));
}

#[test]
fn a_service_that_costs_more_however_it_is_served_is_told_apart_and_a_name_tells_of_a_search() {
    for (dialect, request, service) in [
        (Openai, r#"{"service_tier":"priority"}"#, AskedService::Tier),
        (Openai, r#"{"service_tier":"auto"}"#, AskedService::Usual),
        (Anthropic, r#"{"speed":"fast"}"#, AskedService::Surcharged),
        (Anthropic, r#"{"inference_geo":"us","service_tier":"priority"}"#, AskedService::Surcharged),
        (Responses, r#"{"tools":[{"type":"image_generation"}]}"#, AskedService::Usual),
    ] {
        assert_eq!(of(dialect, Chat, request).service, service, "{request}");
    }
    let plain = of(Openai, Chat, r#"{"messages":[]}"#);
    for (model, turns) in [
        ("openai/gpt-5:online", 1),
        ("openai/gpt-5:online:floor", 1),
        ("gpt-4o-search-preview-2025-03-11", 1),
        ("gpt-5-search-api", 1),
        ("online", 0),
        ("openai/gpt-5:nitro", 0),
    ] {
        assert_eq!(plain.at(model).own_turns, turns, "{model}");
    }
    let searches = of(Openai, Chat, r#"{"messages":[],"web_search_options":{}}"#);
    assert_eq!(searches.at("gpt-5:online").own_turns, searches.own_turns, "it says more itself");
}
