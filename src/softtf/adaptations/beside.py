"""Low-rank increments that run beside their layers, so that each sample of a batch can have a mixture of its own."""

from softtf.adaptations.lora import LoRAs


class LoRAsBeside(LoRAs):
    """LoRA's A and B of every task; W x + sum_t alpha_t s B_t A_t x, with weights alpha of each sample's own.

    That is the network of the weight W + sum_t alpha_t s B_t A_t, but no such weight is made.
    """

    reads_query = True

    def runs_beside(self, block: int, name: str) -> bool:
        """Say whether this weight has an increment; the frozen weight stays in its place."""
        return self.has(block, name)
