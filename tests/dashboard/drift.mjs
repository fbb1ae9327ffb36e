// Answers of the last weeks, put straight into the ledger: a target of which ten times as many were refused yesterday.

import { strict as assert } from 'node:assert';

const SQL = `INSERT INTO attempt_log (attempt_id, request_id, version, started_at, deadline, ended_at, project, key_id, provider, model,
    model_version, operation, number, link, stream, outcome, finish_reason, system_fingerprint, output_tokens, usage_source, total_us, tags)
SELECT generateUUIDv4() AS id, id, 1, at AS began, at, at + 1, 'default', 'preset', 'house', 'drifts',
    if(back = 1, 'drifts-2', 'drifts-1'), 'chat', 1, 0, false, 'served',
    if(sipHash64(number) % 1000 < if(back = 1, 200, 22), 'content_filter', 'stop'), if(back = 1, 'fp_2', 'fp_1'),
    100 + sipHash64(number, 1) % 100, 'provider', 1000000 + sipHash64(number, 2) % 500000, map()
FROM (SELECT number, 1 + intDiv(number, 400) AS back, toStartOfDay(now('UTC')) - back * 86400 + number % 400 * 200 AS at FROM numbers(400 * 37))`;

export async function plantDrift() {
  const { protocol, host, username, password } = new URL(process.env.CLICKHOUSE_URL);
  const headers = { 'X-ClickHouse-User': decodeURIComponent(username || 'default'), 'X-ClickHouse-Key': decodeURIComponent(password) };
  const answer = await fetch(`${protocol}//${host}/?database=penstock`, { method: 'POST', headers, body: SQL });
  assert.equal(answer.status, 200, await answer.text());
}
