-- TRUNCATE ... CASCADE empties the tables that refer to this one; each has its DELETEs. A table that is not followed
-- does not matter.
-- table: customers
-- table: orders
create table customers (id int primary key, name text);
create table orders (id int primary key, customer_id int references customers);
create table notes (id int primary key, order_id int references orders);
insert into customers values (1, 'Ada');
insert into orders values (1, 1), (2, 1);
-- run
truncate customers cascade;
insert into customers values (5, 'Eve');
-- run
-- expect events orders
--   DELETE  {"id": 1, "customer_id": 1}  null
--   DELETE  {"id": 2, "customer_id": 1}  null
