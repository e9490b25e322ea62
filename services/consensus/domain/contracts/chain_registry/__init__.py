"""What the contract `chains` keeps and asks: the form, certificates, standing and admission."""
