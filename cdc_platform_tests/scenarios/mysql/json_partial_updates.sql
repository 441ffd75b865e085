-- MySQL can log the parts of a JSON value that changed instead of the value.
-- requires: mysql
-- table: documents
create table documents (id int primary key, body json);
insert into documents values (1, json_object('a', repeat('x', 100), 'b', 1)), (2, null);
-- run
set session binlog_row_value_options = 'partial_json';
update documents set body = json_set(body, '$.b', 2) where id = 1;
update documents set body = json_remove(body, '$.a') where id = 1;
update documents set body = json_object('c', 3) where id = 2;
-- run
