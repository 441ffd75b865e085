-- The Postgres source tables. Every change carries the whole old row: replica identity full.

create table if not exists customers (
    customer_id serial primary key,
    email varchar(255) not null unique,
    first_name varchar(100) not null,
    last_name varchar(100) not null,
    phone varchar(20),
    address_line1 varchar(255),
    city varchar(100),
    state varchar(50),
    postal_code varchar(20),
    country varchar(100) not null default 'USA',
    registration_date timestamp not null,
    last_updated timestamp not null,
    is_active boolean default true,
    customer_tier varchar(20),
    lifetime_value numeric(12, 2) default 0.00
);
create index if not exists customers_last_updated_idx on customers (last_updated);
create index if not exists customers_is_active_idx on customers (is_active);
alter table customers replica identity full;

create table if not exists orders (
    order_id serial primary key,
    customer_id integer not null references customers (customer_id),
    order_date timestamp not null,
    order_status varchar(50) not null,
    total_amount numeric(12, 2) not null,
    shipping_address jsonb,
    payment_method varchar(50),
    order_notes text,
    last_updated timestamp not null
);
create index if not exists orders_customer_id_idx on orders (customer_id);
create index if not exists orders_order_date_idx on orders (order_date);
create index if not exists orders_order_status_idx on orders (order_status);
create index if not exists orders_shipping_address_idx on orders using gin (shipping_address);
alter table orders replica identity full;

create table if not exists cdc_schema_evolution_test (
    id serial primary key,
    original_column varchar(255) not null,
    created_at timestamp not null
);
alter table cdc_schema_evolution_test replica identity full;
