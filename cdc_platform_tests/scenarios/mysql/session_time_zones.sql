-- A TIMESTAMP is a moment, whatever zone the session is in that writes it; a DATETIME is what is written.
-- table: moments
create table moments (id int primary key, moment timestamp(6) null, wall datetime(6));
set session time_zone = '+05:30';
insert into moments values (1, '2026-01-01 00:00:00', '2026-01-01 00:00:00');
-- run
insert into moments values (2, '2026-06-01 00:00:00.000001', '2026-06-01 00:00:00.000001');
set session time_zone = '-08:00';
insert into moments values (3, '2026-01-01 00:00:00', '2026-01-01 00:00:00');
update moments set wall = '9999-12-31 23:59:59.999999' where id = 1;
-- run
-- expect events
--   INSERT  null  {"id": 2, "moment": "2026-05-31T18:30:00.000001Z", "wall": "2026-06-01T00:00:00.000001"}
--   INSERT  null  {"id": 3, "moment": "2026-01-01T08:00:00.000000Z", "wall": "2026-01-01T00:00:00.000000"}
--   UPDATE  {"id": 1, "moment": "2025-12-31T18:30:00.000000Z", "wall": "2026-01-01T00:00:00.000000"}  {"id": 1, "moment": "2025-12-31T18:30:00.000000Z", "wall": "9999-12-31T23:59:59.999999"}
