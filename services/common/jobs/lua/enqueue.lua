-- ARGV: id, tenant, payload, digest, max_attempts, publish_as, idempotency_key,
-- request_id, traceparent: of what asked for it, as in requeue.lua
-- Reply: {'created' | 'existing' | 'conflict', id}
local id, tenant, payload, digest, max_attempts, publish_as, idempotency_key = unpack(ARGV)
if redis.call('EXISTS', job_key(id)) == 1 then
  return {get(id, 'digest') == digest and 'existing' or 'conflict', id}
end
if idempotency_key ~= '' then
  local key = P .. 'idem:' .. tenant .. ':' .. idempotency_key
  local prior = redis.call('GET', key)
  if prior then
    return {get(prior, 'digest') == digest and 'existing' or 'conflict', prior}
  end
  redis.call('SET', key, id)
end
local seq = redis.call('INCR', P .. 'seq')
redis.call('HSET', job_key(id),
  'id', id, 'tenant', tenant, 'payload', payload, 'digest', digest, 'seq', seq,
  'max_attempts', max_attempts, 'publish_as', publish_as, 'idempotency_key', idempotency_key,
  'attempt', 0, 'failures', 0, 'created_ms', now,
  'request_id', ARGV[8], 'traceparent', ARGV[9])
redis.call('ZADD', P .. 'tenant:' .. tenant, seq, id)
make_ready(id)
count('enqueued')
emit(id)
return {'created', id}
