"""What people look at after fine-tuning: pictures, and one page with all of them."""
