-- Two columns exchange their names: no value moves.
-- table: points
create table points (id int primary key, x int, y int);
insert into points values (1, 10, 20), (2, 30, 40);
-- run
begin;
alter table points rename column x to z;
alter table points rename column y to x;
alter table points rename column z to y;
commit;
insert into points (id, x, y) values (3, 5, 6);
update points set x = 21 where id = 1;
-- run
-- expect rows
--   id | x  | y
--   1  | 21 | 10
--   2  | 40 | 30
--   3  | 5  | 6
