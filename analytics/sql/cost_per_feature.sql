-- What did each feature cost in the last 30 days, by the tag `feature` (x-penstock-tags: feature=search)?
SELECT tags['feature'] AS feature, uniqExact(request_id) AS requests, sum(cost_usd) AS cost_usd
FROM attempts
WHERE started_at >= now('UTC') - INTERVAL 30 DAY
GROUP BY feature
ORDER BY cost_usd DESC
