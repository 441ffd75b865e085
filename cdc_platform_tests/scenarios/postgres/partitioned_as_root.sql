-- A partitioned table is followed as one table, by its root; a row that moves between partitions is one row.
-- table: events
create table events (id int, day date, what text, primary key (id, day)) partition by range (day);
create table events_january partition of events for values from ('2026-01-01') to ('2026-02-01');
create table events_february partition of events for values from ('2026-02-01') to ('2026-03-01');
insert into events values (1, '2026-01-05', 'a'), (2, '2026-02-05', 'b');
-- run
update events set what = 'A' where id = 1;
update events set day = '2026-02-06' where id = 1;
insert into events values (3, '2026-01-07', 'c');
delete from events where id = 2;
-- run
-- expect rows
--   id | day        | what
--   1  | 2026-02-06 | A
--   3  | 2026-01-07 | c
