-- The MySQL source tables. No foreign key: products and inventory are loaded and archived on their own.

create table if not exists products (
    product_id int not null auto_increment primary key,
    sku varchar(100) not null,
    product_name varchar(255) not null,
    description text,
    category varchar(100) not null,
    price decimal(10, 2) not null,
    cost decimal(10, 2),
    quantity_in_stock int default 0,
    supplier_id int,
    created_at datetime not null,
    updated_at datetime not null,
    is_discontinued tinyint(1) default 0,
    unique index products_sku_key (sku),
    index products_category_idx (category),
    index products_updated_at_idx (updated_at)
) engine = innodb default charset = utf8mb4;

create table if not exists inventory_transactions (
    transaction_id bigint not null auto_increment primary key,
    product_id int not null,
    transaction_type enum('purchase', 'sale', 'adjustment', 'return') not null,
    quantity_change int not null,
    transaction_date datetime not null,
    reference_order_id bigint,
    notes varchar(500),
    created_at datetime not null,
    index inventory_transactions_product_id_idx (product_id),
    index inventory_transactions_transaction_date_idx (transaction_date),
    index inventory_transactions_transaction_type_idx (transaction_type)
) engine = innodb default charset = utf8mb4;
