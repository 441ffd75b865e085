-- A partition is detached, or dropped: its rows leave the root without a change in the log.
-- table: events
create table events (id int, day date, what text, primary key (id, day)) partition by range (day);
create table events_january partition of events for values from ('2026-01-01') to ('2026-02-01');
create table events_february partition of events for values from ('2026-02-01') to ('2026-03-01');
create table events_march partition of events for values from ('2026-03-01') to ('2026-04-01');
insert into events values (1, '2026-01-05', 'a'), (2, '2026-02-05', 'b'), (3, '2026-03-05', 'c');
-- run
alter table events detach partition events_january;
insert into events_january values (9, '2026-01-09', 'is no event any more');
-- run
-- expect rows
--   id | day        | what
--   2  | 2026-02-05 | b
--   3  | 2026-03-05 | c
drop table events_february;
insert into events values (4, '2026-03-06', 'd');
-- run
-- expect rows
--   id | day        | what
--   3  | 2026-03-05 | c
--   4  | 2026-03-06 | d
