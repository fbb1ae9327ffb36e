-- What did caching save in the last 30 days: input read from the providers' prompt caches, at that day's base prices, and requests that our own cache answered?
SELECT * FROM (
    SELECT 'prompt cache' AS cache, a.model AS model, uniqExact(a.request_id) AS requests,
        sum(a.cache_read_tokens) AS cached_tokens,
        sum(a.cache_read_tokens * (p.input_usd_per_million
            - ifNull(p.cache_read_usd_per_million, p.input_usd_per_million))) / 1000000 AS saved_usd
    FROM attempts AS a
    ASOF JOIN prices AS p ON p.provider = a.provider AND p.model = a.model AND p.valid_from <= a.started_at
    WHERE a.started_at >= now('UTC') - INTERVAL 30 DAY AND a.cache_read_tokens > 0
    GROUP BY model
    UNION ALL
    SELECT cache, model, count(), NULL, sum(saved_usd)
    FROM requests
    WHERE received_at >= now('UTC') - INTERVAL 30 DAY AND cache IN ('exact', 'semantic', 'joined')
    GROUP BY cache, model
)
ORDER BY saved_usd DESC NULLS LAST, requests DESC
