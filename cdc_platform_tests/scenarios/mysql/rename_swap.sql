-- Two columns of one type exchange their names in one statement: no value moves.
-- table: points
create table points (id int primary key, x int, y int);
insert into points values (1, 10, 20), (2, 30, 40);
-- run
alter table points rename column x to y, rename column y to x;
update points set x = 21 where id = 1;
-- run
-- expect rows
--   id | x  | y
--   1  | 21 | 10
--   2  | 40 | 30
