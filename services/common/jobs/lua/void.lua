-- ARGV: id. An attempt that had lost the job is over. What it wrote after the job was swept is to
-- be swept too; a job that has not ended yet will be swept at its end.
if TERMINAL[get(ARGV[1], 'state')] then redis.call('ZADD', P .. 'sweep', now, ARGV[1]) end
return 'ok'
