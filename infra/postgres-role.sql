-- The least that capture needs on Postgres 14+: a role that may replicate and read one schema.
--
--   CAPTURE_PASSWORD=... psql -d DATABASE -v role=cdc_capture -v schema=public -f infra/postgres-role.sql
--
-- Run it as the owner of the schema's tables, with the right to create roles (or as a superuser, for all schemas).
-- The password comes from the environment, so that no process list shows it.
\set ON_ERROR_STOP on
\getenv password CAPTURE_PASSWORD
\if :{?password}
\else
\warn 'set CAPTURE_PASSWORD'
\quit
\endif
\if :{?role}
\else
\set role cdc_capture
\endif
\if :{?schema}
\else
\set schema public
\endif

begin;
create role :"role" login replication password :'password';
grant connect on database :"DBNAME" to :"role";
grant usage on schema :"schema" to :"role";
grant select on all tables in schema :"schema" to :"role";
-- Tables that whoever runs this makes later.
alter default privileges in schema :"schema" grant select on tables to :"role";
commit;

-- The publication. Only the owner of a table may publish it, which a reading role is not. The first `cdc run` stops
-- and names the one statement, `create publication ... for table ...`, for the owner to run; or let the role do it:
--
--   grant create on database DATABASE to cdc_capture;
--   grant OWNER_OF_THE_TABLES to cdc_capture;
