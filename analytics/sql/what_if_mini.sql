-- What would this month have cost, had every call to gpt-4o gone to gpt-4o-mini: the same tokens, each at the price of its day?
SELECT count() AS attempts, sum(a.cost_usd) AS cost_usd,
    sum(ifNull(a.input_tokens, 0) * p.input_usd_per_million
        + ifNull(a.cache_read_tokens, 0) * ifNull(p.cache_read_usd_per_million, p.input_usd_per_million)
        + (ifNull(a.output_tokens, 0) + ifNull(a.reasoning_tokens, 0)) * p.output_usd_per_million) / 1000000 AS mini_usd
FROM attempts AS a
ASOF JOIN (SELECT * FROM prices WHERE model = 'gpt-4o-mini') AS p ON p.provider = a.provider AND p.valid_from <= a.started_at
WHERE a.model = 'gpt-4o' AND toYYYYMM(a.started_at) = toYYYYMM(now('UTC'))
