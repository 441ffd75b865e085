-- A cascade that goes on to a third table, and one that sets null: rows that only the engine changes.
-- table: a
-- table: b
-- table: c
create table a (id int primary key);
create table b (id int primary key, a int, foreign key (a) references a (id) on delete cascade);
create table c (id int primary key, b int, foreign key (b) references b (id) on delete set null);
insert into a values (1), (2);
insert into b values (1, 1), (2, 2);
insert into c values (1, 1), (2, 2);
-- run
delete from a where id = 1;
-- run
-- expect rows b
--   id | a
--   2  | 2
-- expect rows c
--   id | b
--   1  | null
--   2  | 2
