-- ARGV: id, attempt, lease_ms, log_kept, number of fields and values, field, value, ..., line, ...
-- Reply: 'ok' | 'cancel' | 'lost'. With lease_ms > 0 it is the heartbeat that renews the lease.
local id, attempt, lease_ms, log_kept, n = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
if not held(id, attempt) then return 'lost' end
if lease_ms > 0 then redis.call('ZADD', P .. 'state:running', now + lease_ms, id) end
local last = 5 + tonumber(n)
if last > 5 then redis.call('HSET', job_key(id), unpack(ARGV, 6, last)) end
if #ARGV > last then
  redis.call('RPUSH', job_key(id) .. ':log', unpack(ARGV, last + 1))
  redis.call('LTRIM', job_key(id) .. ':log', -tonumber(log_kept), -1)
  redis.call('HINCRBY', job_key(id), 'log_lines', #ARGV - last)
end
if #ARGV > 5 then emit(id) end
return get(id, 'cancel') == '1' and 'cancel' or 'ok'
