"""The crm service: connections to helpdesks, their credentials and the webhook inbox."""
