-- ARGV: id. Reply: the job's state, or false where there is no such job.
-- A running job is stopped by its worker, which hears of it with its next heartbeat.
local id = ARGV[1]
local state = get(id, 'state')
if state == 'queued' or state == 'waiting' then
  redis.call('ZREM', P .. 'ready:' .. get(id, 'tenant'), id)
  blame(id, 'CANCELLED', 'cancelled on request', '')
  conclude(id, 'cancelled')
  emit(id)
elseif state == 'running' and get(id, 'cancel') ~= '1' then
  redis.call('HSET', job_key(id), 'cancel', 1)
  emit(id)
end
return get(id, 'state')
