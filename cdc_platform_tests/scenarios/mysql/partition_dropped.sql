-- DROP PARTITION takes rows without a change in the log; so do TRUNCATE PARTITION and EXCHANGE PARTITION.
-- table: events
create table events (id int, day date, what varchar(10), primary key (id, day)) partition by range (year(day)) (
  partition p2024 values less than (2025), partition p2025 values less than (2026), partition p2026 values less than (2027)
);
insert into events values (1, '2024-05-05', 'a'), (2, '2025-05-05', 'b'), (3, '2026-05-05', 'c');
-- run
alter table events drop partition p2024;
update events set what = 'B' where id = 2;
-- run
-- expect rows
--   id | day        | what
--   2  | 2025-05-05 | B
--   3  | 2026-05-05 | c
alter table events truncate partition p2025;
-- run
-- expect rows
--   id | day        | what
--   3  | 2026-05-05 | c
create table elsewhere (id int, day date, what varchar(10), primary key (id, day));
insert into elsewhere values (9, '2026-09-09', 'z');
alter table events exchange partition p2026 with table elsewhere;
-- run
-- expect rows
--   id | day        | what
--   9  | 2026-09-09 | z
