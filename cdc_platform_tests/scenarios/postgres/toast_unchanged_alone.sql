-- An UPDATE leaves a long value as it was: Postgres logs no value for it, and none is lost.
-- Elsewhere it becomes NULL, silently (posthog#72435, ingestr#706, #805, debezium-server-iceberg#196).
-- table: documents
create table documents (id int primary key, title text, body text);
alter table documents alter column body set storage external;
insert into documents values (1, 'a', repeat('x', 10000)), (2, 'b', null);
-- run
update documents set title = 'A' where id = 1;
-- run
update documents set title = 'B' where id = 2;
-- run
