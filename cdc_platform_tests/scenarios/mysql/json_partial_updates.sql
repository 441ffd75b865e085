-- MySQL can log the parts of a JSON value that changed instead of the value. The table stops, and stays so until its
-- pipeline is begun anew; others go on.
-- requires: mysql
-- table: documents
-- table: others
create table documents (id int primary key, body json);
create table others (id int primary key, body json);
insert into documents values (1, json_object('a', repeat('x', 100), 'b', 1)), (2, null);
-- run
insert into documents values (3, '{}');
insert into others values (1, '[]');
set session binlog_row_value_options = 'partial_json';
update documents set body = json_set(body, '$.b', 2) where id = 1;
update documents set body = json_remove(body, '$.a') where id = 1;
update documents set body = json_object('c', 3) where id = 2;
insert into others values (2, '{"a": 1}');
-- run
-- expect stop 4 documents: documents: the binlog at ... holds parts of JSON values; set binlog_row_value_options='', in every session, and begin its pipeline anew
update documents set body = json_object('d', 4) where id = 2;
insert into others values (3, null);
-- run
-- expect stop 4 documents: documents: the binlog at ... holds parts of JSON values; set binlog_row_value_options='', in every session, and begin its pipeline anew
-- expect nothing written documents
