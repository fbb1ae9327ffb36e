//! What the standard variables of OpenTelemetry say of traces: whether they are made, and which are kept. Where they are sent
//! and how is read by the exporter itself. Sends nothing.
//! Source: <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>.

use penstock_schemas::trace::HeadSampling;
use std::collections::HashMap;

/// The variables, by their names.
pub struct TelemetryVariables(HashMap<String, String>);

impl TelemetryVariables {
    /// Those of `environment` that are OpenTelemetry's.
    pub fn of(environment: impl IntoIterator<Item = (String, String)>) -> Self {
        // An empty value is as good as none, says the specification.
        Self(environment.into_iter().filter(|(name, value)| name.starts_with("OTEL_") && !value.is_empty()).collect())
    }

    /// Whether traces are made, and which are exported whatever becomes of their requests; with what is wrong with the
    /// variables, which the specification wants to be passed over with a warning. Without an endpoint or
    /// `OTEL_TRACES_EXPORTER=otlp` there are none: a collector on this machine is not taken for granted.
    pub fn traces(&self) -> (Option<HeadSampling>, Vec<String>) {
        let exporter = self.get("OTEL_TRACES_EXPORTER");
        let endpoint =
            self.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| self.get("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let is_disabled = self.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let mut mistakes = Vec::new();
        let is_wanted = match exporter {
            None => endpoint.is_some(),
            Some("otlp") => true,
            Some("none") => false,
            Some(other) => {
                mistakes.push(format!("OTEL_TRACES_EXPORTER: `{other}` is not known: use otlp or none"));
                false
            }
        };
        if !is_wanted || is_disabled {
            return (None, mistakes);
        }
        let sampler = self.get("OTEL_TRACES_SAMPLER").unwrap_or("parentbased_always_on");
        let sampling = HeadSampling::parse(sampler, self.get("OTEL_TRACES_SAMPLER_ARG"));
        let sampling = sampling.unwrap_or_else(|why| {
            mistakes.push(why);
            HeadSampling::default()
        });
        (Some(sampling), mistakes)
    }

    /// A number that is above zero.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(|value| value.parse().ok()).filter(|number| *number > 0)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traces(variables: &[(&str, &str)]) -> (bool, usize) {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let (sampling, mistakes) = TelemetryVariables::of(variables).traces();
        (sampling.is_some(), mistakes.len())
    }

    #[test]
    fn traces_are_made_where_the_variables_ask_for_them() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        assert_eq!(traces(&[]), (false, 0));
        assert_eq!(traces(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), (false, 0));
        assert_eq!(traces(&[endpoint]), (true, 0));
        assert_eq!(traces(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4318/v1/traces")]), (true, 0));
        assert_eq!(traces(&[("OTEL_TRACES_EXPORTER", "otlp")]), (true, 0));
        assert_eq!(traces(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), (false, 0));
        assert_eq!(traces(&[endpoint, ("OTEL_SDK_DISABLED", "True")]), (false, 0));
        assert_eq!(traces(&[endpoint, ("OTEL_TRACES_EXPORTER", "console")]), (false, 1));
        assert_eq!(traces(&[endpoint, ("OTEL_TRACES_SAMPLER", "sometimes")]), (true, 1));
    }
}
