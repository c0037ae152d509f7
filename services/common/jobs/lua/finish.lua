-- ARGV: id, attempt, outcome, result, reason, message, remedy, base_ms, cap_ms, jitter
-- outcome: succeeded | failed | retry | released; cancelled, where that was requested
-- Reply: the job's new state, or 'lost'. This is the compare-and-set by which a job publishes:
-- the result becomes visible only if this attempt still holds the job, and only once.
local id, attempt, outcome, result, reason, message, remedy = unpack(ARGV, 1, 7)
if not held(id, attempt) then
  -- Asked again because the reply was lost: the same answer.
  if get(id, 'ended_attempt') == attempt then return get(id, 'ended_state') end
  return 'lost'
end
if get(id, 'cancel') == '1' then
  outcome, reason, message, remedy = 'cancelled', 'CANCELLED', 'cancelled on request', ''
end
end_attempt(id, outcome, reason, message)
blame(id, reason, message, remedy)
if outcome == 'succeeded' then
  redis.call('HSET', job_key(id), 'result', result, 'fraction', 1, 'eta_s', 0)
  local name = get(id, 'publish_as')
  if name ~= '' then
    redis.call('HSET', P .. 'published', name, cjson.encode({
      job_id = id, attempt = tonumber(attempt), published_ms = now, result = result}))
  end
  conclude(id, 'succeeded')
elseif outcome == 'retry' then
  retry_or_die(id, unpack(ARGV, 8, 10))
elseif outcome == 'released' then
  make_ready(id)
  count('released')
else
  conclude(id, outcome)
end
local state = get(id, 'state')
redis.call('HSET', job_key(id), 'ended_attempt', attempt, 'ended_state', state)
emit(id)
return state
