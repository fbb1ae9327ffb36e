-- How long did callers wait for the first token, by provider, in the last 7 days?
SELECT provider, count() AS attempts, quantileExact(0.5)(first_token_us) / 1000 AS p50_ms,
    quantileExact(0.95)(first_token_us) / 1000 AS p95_ms
FROM attempts
WHERE started_at >= now('UTC') - INTERVAL 7 DAY AND first_token_us IS NOT NULL
GROUP BY provider
ORDER BY p95_ms DESC
