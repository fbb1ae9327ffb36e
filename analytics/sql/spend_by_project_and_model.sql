-- What did each project spend on each model this month?
SELECT project, provider, model, uniqExact(request_id) AS requests, count() AS attempts, sum(cost_usd) AS cost_usd
FROM attempts
WHERE toYYYYMM(started_at) = toYYYYMM(now('UTC'))
GROUP BY project, provider, model
ORDER BY cost_usd DESC
