"""Networks that find invasive carcinoma on H&E: trained on labelled patches, adapted to other laboratories."""
