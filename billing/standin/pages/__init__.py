"""The pages that Stripe hosts: Checkout, invoices, the customer's portal. Plain, and marked as a stand-in's."""
