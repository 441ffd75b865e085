"""Standard events to Kafka: their form, their topic, and how far they are. Sibling of destinations, blind to them."""
