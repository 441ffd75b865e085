-- TRUNCATE of a partition, where its root is followed: the log says nothing of it.
-- table: events
create table events (id int, day date, what text, primary key (id, day)) partition by range (day);
create table events_january partition of events for values from ('2026-01-01') to ('2026-02-01');
create table events_february partition of events for values from ('2026-02-01') to ('2026-03-01');
insert into events values (1, '2026-01-05', 'a'), (2, '2026-02-05', 'b');
-- run
truncate events_january;
-- run
-- expect rows
--   id | day        | what
--   2  | 2026-02-05 | b
