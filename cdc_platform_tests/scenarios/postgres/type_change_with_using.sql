-- ALTER TYPE ... USING gives every row another value, and the log has none of them.
-- table: items
create table items (id int primary key, price numeric(10, 2), name varchar(20));
insert into items values (1, 1.50, 'one'), (2, 2.50, 'two'), (3, null, null);
-- run
alter table items alter column price type numeric(14, 2) using price * 2, alter column name type text using upper(name);
insert into items values (4, 4, 'four');
-- run
-- expect rows
--   id | price | name
--   1  | 3.00  | ONE
--   2  | 5.00  | TWO
--   3  | null  | null
--   4  | 4.00  | four
