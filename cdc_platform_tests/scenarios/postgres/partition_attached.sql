-- A table with rows becomes a partition: its rows come into the root without a change in the log.
-- table: events
create table events (id int, day date, what text, primary key (id, day)) partition by range (day);
create table events_january partition of events for values from ('2026-01-01') to ('2026-02-01');
insert into events values (1, '2026-01-05', 'a');
create table elsewhere (id int not null, day date not null, what text, primary key (id, day));
insert into elsewhere values (2, '2026-02-05', 'b'), (3, '2026-02-06', 'c');
-- run
alter table events attach partition elsewhere for values from ('2026-02-01') to ('2026-03-01');
update events set what = 'B' where id = 2;
-- run
-- expect rows
--   id | day        | what
--   1  | 2026-01-05 | a
--   2  | 2026-02-05 | B
--   3  | 2026-02-06 | c
