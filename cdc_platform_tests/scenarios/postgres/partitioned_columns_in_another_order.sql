-- A partition may have its columns in another order than the root, and traces of dropped ones.
-- table: events
create table events (id int, day date, what text, primary key (id, day)) partition by range (day);
create table events_january (gone int, what text, day date not null, id int not null);
alter table events_january drop column gone;
alter table events attach partition events_january for values from ('2026-01-01') to ('2026-02-01');
create table events_february partition of events for values from ('2026-02-01') to ('2026-03-01');
insert into events values (1, '2026-01-05', 'a'), (2, '2026-02-05', 'b');
-- run
update events set what = 'A' where id = 1;
insert into events values (3, '2026-01-07', 'c'), (4, '2026-02-07', 'd');
update events set day = '2026-02-08' where id = 3;
-- run
