-- Partitions followed as tables of their own: a row that moves leaves one and comes into the other.
-- table: events_january
-- table: events_february
create table events (id int, day date, what text, primary key (id, day)) partition by range (day);
create table events_january partition of events for values from ('2026-01-01') to ('2026-02-01');
create table events_february partition of events for values from ('2026-02-01') to ('2026-03-01');
insert into events values (1, '2026-01-05', 'a'), (2, '2026-02-05', 'b');
-- run
update events set day = '2026-02-06' where id = 1;
insert into events values (3, '2026-01-07', 'c');
-- run
-- expect events events_february
--   INSERT  null  {"id": 1, "day": "2026-02-06", "what": "a"}
truncate events;
-- run
