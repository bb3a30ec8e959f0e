-- pg_cron's functions, which schedule nothing. They lie in a schema of their own, whatever is asked.
create schema if not exists cron;
create function cron.schedule(job_name text, schedule text, command text) returns bigint language sql as 'select 0::bigint';
create function cron.schedule(schedule text, command text) returns bigint language sql as 'select 0::bigint';
create function cron.unschedule(job_name text) returns boolean language sql as 'select true';
create function cron.unschedule(job_id bigint) returns boolean language sql as 'select true';
create table cron.job (jobid bigint, schedule text, command text, nodename text, nodeport integer, database text, username text, active boolean, jobname text);
