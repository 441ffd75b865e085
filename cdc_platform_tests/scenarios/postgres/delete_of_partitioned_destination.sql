-- A DELETE with the default identity carries the key alone, so the partition that its row lies in is not known from it.
-- Elsewhere the row stays: "delete misses the row" (iceberg-kafka-connect#318).
-- config: partition_by: month(ordered)
-- table: orders
create table orders (id int primary key, ordered timestamp, total numeric(12, 2));
insert into orders values (1, '2026-01-31', 10), (2, '2026-02-01', 20), (3, null, 30);
-- run
delete from orders where id in (1, 3);
-- run
-- expect rows
--   id | total
--   2  | 20.00
-- A row that moves to another month leaves none behind.
update orders set ordered = '2026-03-01' where id = 2;
-- run
-- expect rows
--   id | total
--   2  | 20.00
