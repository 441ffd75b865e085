-- An UPDATE that changes the key is the DELETE of the old key and the INSERT of the new one: no second row is left.
-- Elsewhere: "update writes a second row, no delete for the old" (olake#1189, iceberg-kafka-connect#341).
-- With the default replica identity Postgres logs nothing of the old row but its key: the rest of `before` is null.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
update people set id = 3 where id = 1;
-- run
-- expect events
--   DELETE  {"id": 1, "name": null}  null
--   INSERT  null                     {"id": 3, "name": "Ada"}
-- expect rows
--   id | name
--   2  | Bob
--   3  | Ada
-- The old key is free again, in the same transaction too.
begin;
update people set id = 1 where id = 2;
insert into people values (2, 'Cid');
commit;
-- run
-- expect rows
--   id | name
--   1  | Bob
--   2  | Cid
--   3  | Ada
