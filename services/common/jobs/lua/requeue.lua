-- ARGV: id, request_id, traceparent. Reply: {'ok' | 'refused', the job's state}, or false where there is no such job.
-- A new budget of failures and a new place in the order; attempt numbers go on.
local id = ARGV[1]
local state = get(id, 'state')
if not state then return false end
if state == 'succeeded' or not TERMINAL[state] then return {'refused', state} end
redis.call('HSET', job_key(id), 'failures', 0, 'cancel', 0, 'seq', redis.call('INCR', P .. 'seq'),
  'request_id', ARGV[2], 'traceparent', ARGV[3])
redis.call('HDEL', job_key(id), 'finished_ms')
redis.call('ZREM', P .. 'sweep', id)
blame(id, '', '', '')
make_ready(id)
count('requeued')
emit(id)
return {'ok', 'queued'}
